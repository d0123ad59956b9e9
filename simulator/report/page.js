(function () {
  "use strict";

  const figures = JSON.parse(document.getElementById("figures").textContent);
  const plots = Array.from(document.querySelectorAll("[data-figure]"));
  const options = { displayModeBar: false, responsive: true };

  for (const plot of plots) {
    const figure = figures[plot.dataset.figure];
    Plotly.newPlot(plot, figure.data, figure.layout, options);
  }

  function refit() {
    plots.forEach((plot) => Plotly.Plots.resize(plot));
  }
  window.addEventListener("beforeprint", refit);
  window.addEventListener("afterprint", refit);

  function key(row, column) {
    const cell = row.cells[column];
    return "order" in cell.dataset ? Number(cell.dataset.order) : cell.textContent;
  }

  function compare(a, b) {
    return typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true });
  }

  function sort(table, heading) {
    const column = heading.cellIndex;
    const before = heading.getAttribute("aria-sort");
    const first = heading.classList.contains("number") ? "descending" : "ascending";
    const other = first === "descending" ? "ascending" : "descending";
    const order = before === first ? other : first;
    const sign = order === "ascending" ? 1 : -1;
    const body = table.tBodies[0];
    const rows = Array.from(body.rows);
    rows.sort((a, b) => sign * compare(key(a, column), key(b, column)));
    body.append(...rows);
    table.querySelectorAll("th").forEach((each) => each.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", order);
  }

  for (const table of document.querySelectorAll("table.sortable")) {
    for (const heading of table.querySelectorAll("th")) {
      heading.addEventListener("click", () => sort(table, heading));
    }
  }

  // One kernel or operator shown alone.  Marks and rows carry keys such as "operator:gemm" and "kernel:qkv 64x8x16".

  const DIM = 0.15;
  const rows = Array.from(document.querySelectorAll("#kernel-table tbody tr"));
  const operatorOf = new Map(rows.map((row) => [row.dataset.kernel, row.dataset.operator]));
  const search = document.getElementById("search");
  const bar = document.getElementById("chosen");
  let chosen = null;

  function belongs(key) {
    return chosen === null || key === chosen || key === operatorOf.get(chosen) || operatorOf.get(key) === chosen;
  }

  function dim(plot) {
    plot.data.forEach((trace, index) => {
      if (!trace.customdata) return;
      const original = figures[plot.dataset.figure].data[index];
      if ((trace.mode || "").includes("lines")) {
        Plotly.restyle(plot, { opacity: belongs(trace.customdata[0]) ? 1 : DIM }, [index]);
        return;
      }
      const full = original.marker.opacity || 1;
      const each = trace.customdata.map((key) => (belongs(key) ? full : DIM));
      Plotly.restyle(plot, { "marker.opacity": [each] }, [index]);
    });
  }

  function filter() {
    const wanted = search.value.trim().toLowerCase();
    let shown = 0;
    for (const row of rows) {
      const alone = chosen === null || row.dataset.kernel === chosen || row.dataset.operator === chosen;
      row.hidden = !(alone && row.textContent.toLowerCase().includes(wanted));
      row.classList.toggle("chosen", row.dataset.kernel === chosen);
      shown += row.hidden ? 0 : 1;
    }
    document.getElementById("count").textContent = shown < rows.length ? `${shown} of ${rows.length}` : "";
  }

  function choose(key) {
    chosen = key === chosen ? null : key;
    bar.hidden = chosen === null;
    if (chosen !== null) {
      const name = chosen.slice(chosen.indexOf(":") + 1);
      bar.querySelector("b").textContent = chosen.startsWith("operator:") ? name.replaceAll("_", " ") : name;
    }
    filter();
    plots.forEach(dim);
  }

  if (bar) {
    for (const plot of plots) {
      plot.on("plotly_click", (event) => {
        const key = event.points.map((point) => point.customdata).find((data) => typeof data === "string");
        if (key) choose(key);
      });
    }
    for (const row of rows) {
      row.addEventListener("click", () => choose(row.dataset.kernel));
      row.addEventListener("keydown", (event) => {
        if (event.key === "Enter") choose(row.dataset.kernel);
      });
    }
    search.addEventListener("input", filter);
    bar.querySelector("[data-clear]").addEventListener("click", () => choose(chosen));
    bar.querySelector("[data-show]").addEventListener("click", () => {
      document.getElementById("kernels").scrollIntoView({ behavior: "smooth" });
    });
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && chosen !== null) choose(chosen);
    });
  }

  // Pictures to keep: the figure as first drawn, with a legend of its own.

  function withLegend(figure) {
    return {
      data: figure.data.map((trace) => (trace.name ? trace : { ...trace, showlegend: false })),
      layout: {
        ...figure.layout,
        showlegend: true,
        legend: { orientation: "h", traceorder: "normal", x: 0, y: -60 / figure.layout.height, yanchor: "top" },
        height: figure.layout.height + 60,
        width: 900,
      },
    };
  }

  function memoryChart() {
    const visible = Array.from(document.querySelectorAll("svg.memory")).find((svg) => svg.getBoundingClientRect().width);
    const copy = visible.cloneNode(true);
    const [, , width, height] = visible.getAttribute("viewBox").split(" ");
    copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
    copy.setAttribute("width", width);
    copy.setAttribute("height", height);
    const style = document.createElementNS("http://www.w3.org/2000/svg", "style");
    style.textContent = document.getElementById("memory-style").textContent;
    copy.prepend(style);
    const text = new XMLSerializer().serializeToString(copy);
    return { url: `data:image/svg+xml,${encodeURIComponent(text)}`, width: Number(width), height: Number(height) };
  }

  function painted({ url, width, height }) {
    return new Promise((resolve, reject) => {
      const image = new Image();
      image.onload = () => {
        const canvas = document.createElement("canvas");
        canvas.width = 2 * width;
        canvas.height = 2 * height;
        const context = canvas.getContext("2d");
        context.fillStyle = "#fff";
        context.fillRect(0, 0, canvas.width, canvas.height);
        context.drawImage(image, 0, 0, canvas.width, canvas.height);
        resolve(canvas.toDataURL("image/png"));
      };
      image.onerror = reject;
      image.src = url;
    });
  }

  async function picture(key, format) {
    if (key === "memory") return format === "svg" ? memoryChart().url : painted(memoryChart());
    const figure = withLegend(figures[key]);
    const { width, height } = figure.layout;
    return Plotly.toImage(figure, { format, width, height, scale: format === "png" ? 2 : 1 });
  }

  for (const button of document.querySelectorAll("[data-export]")) {
    button.addEventListener("click", async () => {
      const link = document.createElement("a");
      link.href = await picture(button.dataset.of, button.dataset.export);
      link.download = `${button.dataset.of}.${button.dataset.export}`;
      link.click();
    });
  }
})();
