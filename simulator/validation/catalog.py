"""The suites of `tierscope validate` by name, known without importing what runs them."""

SUITES = {
    "microbenchmarks": "public microbenchmarks, hardware parameters only",
    "serving-decode": "time per output token of serving engines on H100, tensor parallelism included",
    "hit-rates": "L2 hit rates and DRAM sectors of single kernels, hardware counters",
    "gemm": "matrix products, measured under serving frameworks",
    "decode-attention": "attention of one new token over cached ones, measured under serving frameworks",
    "prefill-attention": "attention of a prompt over itself, measured under serving frameworks",
}
