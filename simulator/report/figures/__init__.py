"""The figures of a report, each the plain ``{"data": [...], "layout": {...}}`` object that Plotly draws.

`catalog` lists them, `style` is what they have in common, `static` draws the same objects for print.
"""
