"""TensorRT-LLM's decode kernels.

- XQA: kernelUtils.cpp and decoderXQAImplJIT.cpp (when it runs), decoderXQAImplCommon.h (its block count), on Hopper
  with an fp8 cache kernels/xqa/mha_sm90.cu (three warpgroups, 64 keys, two or three CTAs an SM), otherwise mha.cu
  (eight warps, four of 64 keys each; its buffers fill an SM).
- Masked multi-head attention for what XQA leaves: decoderMaskedMultiheadAttentionLaunch.h and ..Template.h.
- The generated kernels of data-centre Blackwell, which vLLM and SGLang call too.  They ship as binaries; which tile and
  how many CTAs is in FlashInfer's include/flashinfer/trtllm/fmha/fmhaKernels.cuh, as in TensorRT-LLM's fmhaKernels.h;
  what they load in kernelParams.h, how much shared memory they take in kernelMetaInfo.h.
"""

from __future__ import annotations

from dataclasses import replace

from simulator.hardware import Dtype, Hardware
from simulator.lowering.decode_chain import HAND_OVER_CYCLES
from simulator.lowering.decode_tile import (
    BLACKWELL,
    CONSUMER_BLACKWELL,
    HOPPER,
    SHARED_LOAD_CYCLES,
    VECTOR_BYTES,
    Plan,
    Tile,
    conversion_cycles,
    fitting,
    group_of,
    key_tiles_of,
    launched,
    lone_warp_share,
    query_tiles_of,
    registers_for,
    steps_of,
)
from simulator.workload.operators import AttentionShape

XQA_MOST_GROUP = 32  # query heads per KV head (supportConfigQGMMA, supportConfigHMMA)
GENERATED = " trtllm-gen"
GENERATED_HEADS = 256  # largest head size of TensorRT-LLM's own attention on data-centre Blackwell, windows aside
GENERATED_MOST_GROUP = 32  # likewise (XqaDispatcher::shouldUse has 16, which pull request 12620 extends to 32)
XQA_HISTORY = 128  # keys a block takes at least (kMinHistoryTokensPerBlock)
XQA_WAVES = 8  # kTargetWaveFactor
XQA_ENABLE = 4  # kEnableMinBlockFactor
XQA_MOST_BLOCKS = 6000  # of all sequences (kXQA_MAX_NUM_SUB_SEQ)
XQA_KEYS, XQA_WARP_KEYS = 256, 64  # of a CTA of mha.cu: four warps
XQA_CONVERSIONS = 4  # of a pair, each number by itself: to half, and from float to bf16 (convertKCacheWordToF16)
XQA_KEY_BYTES = 128  # of a key that a warp of mha.cu loads at once (preferedKHeadPartBytes), half on small SMs
XQA_MAXIMA = 8  # of splits that a warp of mha.cu reads at once (mergeRowMax)
XQA_MERGING_STEPS = 3  # of a lane of mha.cu for an element: to float, by its scale, to the sum
XQA_MERGING_WARPS = 8  # of mha_sm90.cu, which share the query heads of a part (nbMathWarps)
XQA_MERGED = 4  # parts that mha_sm90.cu has in shared memory at once (MultiBlockSMem::nbBuf)
XQA_QUERY_WARPS, XQA_HIDDEN_STEPS = 2, 2  # of mha_sm90.cu; reads of its queries beside those of page and keys
SINKS_HEAD = 64  # head size that TensorRT-LLM is measured with attention sinks for
MASKED_CONVERSIONS = 1  # of a pair, to half; from there to float takes none (convert_from_fp8)
MASKED_EMULATED, EMULATED_PER_CLOCK = 53, 64
"""Instructions for a pair of zeros without an instruction that converts (cuda_fp8.hpp's code as CUDA 13.0 compiles it
for sm_86; 33 for others but denormals), and how many of them an SM takes a clock, most of them logical ones."""
SMALL_SM_BYTES = 128 * 1024
MASKED_THREADS, MASKED_WARPS = 256, 32  # of a CTA at least; of an SM, by registers
MASKED_UNROLL = 8  # keys whose V a thread has in flight (V_LOOP_UNROLL)
MASKED_STEPS = 54
"""Instructions of a thread of masked attention for a load of 16 bytes, as its source has them: some 20 for page and
address, eight conversions and eight multiply-adds; with K four shuffles, a quarter as fast as others, their additions,
and ten for the score (66 in all), with V six for its weight (42)."""

GENERATED_KEYS, GENERATED_STEP = 128, 256  # of a tile; of a step, which is two tiles (numInstsKv)
GENERATED_STAGES, GENERATED_STAGE_BYTES = 4, 32 * 1024  # K and V of a step: bf16 kernels for 8 queries take 75408 bytes
# of shared memory (head size 64), 141968 (128) and 144016 (256; kernelMetaInfo.h), so that wider tiles come in parts
GENERATED_THREADS = 512


def trtllm_plan(shape: AttentionShape, hardware: Hardware) -> Plan:
    """Return the kernel of TensorRT-LLM, whose pages hold all tokens of a head together; on data-centre Blackwell
    groups wider than the generated kernels are used for go to masked attention."""
    if BLACKWELL <= hardware.compute_capability < CONSUMER_BLACKWELL:
        wide = group_of(shape) > GENERATED_MOST_GROUP
        return _masked(shape, hardware) if wide else generated_plan(shape, hardware, head_major=True)
    return _xqa(shape, hardware) if _xqa_runs(shape, hardware) else _masked(shape, hardware)


def generated_plan(shape: AttentionShape, hardware: Hardware, head_major: bool) -> Plan:
    """Return a generated kernel: query tiles of a power of two, a CTA an SM, and no more splits than SMs are free, of
    two steps at least.

    Its loads are bulk copies of boxes of a page (kernelParams.h, numKeysPerTile), so that whole steps are loaded
    however short a sequence is.  Where nothing is split its scheduler is persistent, with room for two more tiles of
    queries (4 KiB more shared memory with head size 128): the next piece of work is loaded as stages become free.
    """
    rows = 8
    while rows < min(group_of(shape), 128):
        rows *= 2
    fitting_keys = max(16, GENERATED_STAGE_BYTES // (shape.head_dim * shape.kv_dtype.bytes))
    tile = Tile(
        rows,
        min(GENERATED_KEYS, 1 << (fitting_keys.bit_length() - 1)),
        GENERATED_THREADS,
        GENERATED_STAGES,
        registers_for(GENERATED_THREADS, 1),
        combines=True,
        multiplies_cache=True,
        step_keys=GENERATED_STEP,
        window_keys=GENERATED_KEYS,
    )
    tile = fitting(tile, shape, hardware)
    keys = shape.kv_len
    if shape.window is not None and keys > shape.window:
        keys = min(keys, shape.window + GENERATED_STEP - 1)
    work = shape.batch * shape.kv_heads * query_tiles_of(shape, tile)
    splits = min(-(-keys // (2 * GENERATED_STEP)), max(1, hardware.sm.count // work))
    splits = launched(splits, steps_of(shape, tile))
    return Plan(GENERATED, tile, splits, dealt=splits == 1, head_major=head_major)


def calls_flashinfer(shape: AttentionShape, hardware: Hardware) -> bool:
    """Return whether TensorRT-LLM has FlashInfer call the generated kernel, as for the layers of Gemma 4: head sizes
    beyond 256, and 256 with a window (_torch/attention_backend/flashinfer.py, flashinfer_backend "trtllm-gen")."""
    wide = shape.head_dim > GENERATED_HEADS or (shape.head_dim == GENERATED_HEADS and shape.window is not None)
    return wide and BLACKWELL <= hardware.compute_capability < CONSUMER_BLACKWELL


def on_hopper_tensor_cores(shape: AttentionShape, hardware: Hardware) -> bool:
    """Return whether XQA is the kernel for Hopper and fp8 (supportConfigQGMMA), which rotates and stores K itself."""
    return hardware.compute_capability == HOPPER and shape.kv_dtype is Dtype.FP8


def _xqa_runs(shape: AttentionShape, hardware: Hardware) -> bool:
    """Return whether XQA takes a shape: grouped heads and, unless the cache is fp8, blocks enough for a quarter of the
    SMs (shouldUse, mayHavePerfGain)."""
    if not 1 < group_of(shape) <= XQA_MOST_GROUP:
        return False
    blocks = shape.kv_heads * shape.batch * max(1, shape.kv_len // XQA_HISTORY)
    return shape.kv_dtype is Dtype.FP8 or blocks * XQA_ENABLE >= hardware.sm.count


def _xqa_splits(shape: AttentionShape, hardware: Hardware) -> int:
    """Return over how many CTAs XQA splits the keys of a sequence and head (computeMultiBlockCount); with an fp8 cache
    over one outside Hopper (convertMMHAParamsToXQAParams; sm_120 has had more since pull request 17976)."""
    if shape.kv_dtype is Dtype.FP8 and not on_hopper_tensor_cores(shape, hardware):
        return 1
    blocks = shape.kv_len // XQA_HISTORY
    blocks = max(1, min(blocks, round((8 * blocks) ** 0.5)))
    waves = shape.batch * shape.kv_heads * blocks / hardware.sm.count / XQA_WAVES
    blocks = max(1, int(blocks / waves)) if waves > 1 else blocks
    return max(1, min(blocks, XQA_MOST_BLOCKS // shape.batch))


def _xqa(shape: AttentionShape, hardware: Hardware) -> Plan:
    if on_hopper_tensor_cores(shape, hardware):
        rows = 8 * -(-group_of(shape) // 8)
        tile = _hopper_tile(shape, rows)
    else:
        tile = _xqa_tile(shape, hardware)
    tile = fitting(tile, shape, hardware)
    splits = _xqa_splits(shape, hardware)
    if on_hopper_tensor_cores(shape, hardware):  # CTAs that a window leaves without keys end at once
        splits = launched(splits, key_tiles_of(shape, tile))
    return Plan(" XQA", tile, splits, head_major=True)


def _hopper_tile(shape: AttentionShape, rows: int) -> Tile:
    """Return the tile of mha_sm90.cu, compiled without a bound on its registers (OPTIMIZE_FOR_LATENCY): a warpgroup
    shares the outputs, and an operand of P V for 16 keys of each head element.

    But for head size 64 (attention sinks), two warps get a query head each, turn it, and go on to the next two; what
    two such reads take is there anyway, for page number and keys.
    """
    padded = max(64, 1 << (shape.head_dim - 1).bit_length())
    steps = -(-group_of(shape) // XQA_QUERY_WARPS) if shape.head_dim != SINKS_HEAD else 1
    tile = Tile(rows, 64, 384, 4, registers_for(384, 1), combines=True, multiplies_cache=True, turns_queries=True)
    return replace(
        tile,
        merged_at_once=XQA_MERGED,
        merging_cycles=HAND_OVER_CYCLES + -(-group_of(shape) // XQA_MERGING_WARPS) * SHARED_LOAD_CYCLES,
        query_steps=max(1, steps - XQA_HIDDEN_STEPS),
        accumulators=padded * rows // 128 + padded // 16,
    )


def _xqa_tile(shape: AttentionShape, hardware: Hardware) -> Tile:
    """Return the tile of mha.cu: four warps multiply 64 keys each, four more 64 columns of the values each, so that
    the more columns a head has the fewer keys these share; warps without keys do nothing (SHORT_SEQ_OPT)."""
    small = hardware.sm.shared_memory_bytes < SMALL_SM_BYTES
    part = XQA_KEY_BYTES // (2 if small else 1)
    rows = 16 * -(-group_of(shape) // 16)
    padded = max(64, 1 << (shape.head_dim - 1).bit_length())
    keys = min(XQA_KEYS, XQA_KEYS * part // (padded * shape.kv_dtype.bytes))
    groups = XQA_KEYS // padded
    resident = 2 if hardware.compute_capability == HOPPER else 1  # that it is compiled for
    tile = Tile(rows, keys, 256, 4, registers_for(256, resident), combines=True, warp_rows=32)
    return replace(
        tile,
        whole_keys=XQA_KEYS,
        whole_values=max(XQA_WARP_KEYS, groups * XQA_WARP_KEYS // (2 if small else 1)),
        padded_head=padded,
        conversion_cycles=conversion_cycles(hardware, XQA_CONVERSIONS),
        matrix_share=lone_warp_share(hardware, shape.activation_dtype),
        merged_at_once=groups,
        merging_cycles=(SHARED_LOAD_CYCLES + XQA_MERGING_STEPS * rows * XQA_WARP_KEYS // 32) // groups,
        maxima_at_once=XQA_MAXIMA,
    )


def _masked(shape: AttentionShape, hardware: Hardware) -> Plan:
    """Masked multi-head attention: a CTA for each query head, which reads its KV head alone, on the vector units.

    CTAs are as large as lets all of them run at once, and keys are split while SMs are free, evenly, into a
    loop of a CTA at least (timesteps_per_block).
    """
    work, sms = shape.batch * shape.heads, hardware.sm.count
    most = MASKED_WARPS * 32 // MASKED_THREADS
    factor = min(-(-sms * most // work), most)
    threads = MASKED_THREADS * (4 if factor == 4 else 2 if factor >= 2 else 1)
    resident = MASKED_WARPS * 32 // threads
    per_loop = threads * VECTOR_BYTES // (shape.head_dim * shape.activation_dtype.bytes) * MASKED_UNROLL
    keys = shape.kv_len - shape.first_key
    splits = min(-(-sms * resident // work), -(-keys // per_loop))
    registers = registers_for(threads, resident)
    larger = threads // MASKED_THREADS
    keys = max(1, per_loop // larger // 2)  # shares of a CTA need not be whole loops
    tile = Tile(1, keys, threads, 2 * larger, registers, matrix=False, combines=True, buffered=False)
    splits = launched(splits, key_tiles_of(shape, tile))
    cycles = _masked_conversion_cycles(hardware)
    tile = replace(tile, vector_steps=MASKED_STEPS, conversion_cycles=cycles, sets_up_longer=True)
    return Plan(" masked", tile, splits, head_major=True, keys_first=True)


def _masked_conversion_cycles(hardware: Hardware) -> float:
    """Return the SM cycles for an fp8 number in masked attention, which before Hopper is compiled for sm_80 and sm_86
    alone: sm_89 runs the latter's code (cuda_configuration.cmake, ARCHITECTURES_COMPATIBILITY_BASE, to which the
    kernel's CMakeLists.txt adds nothing), which has no instruction that converts.  XQA is compiled when it runs."""
    if hardware.compute_capability < HOPPER:
        return MASKED_EMULATED / EMULATED_PER_CLOCK / 2
    return conversion_cycles(hardware, MASKED_CONVERSIONS)
