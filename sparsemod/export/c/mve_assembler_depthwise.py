"""The instructions of 3 x 3 depthwise convolutions for cores with Helium (MVE)."""

from sparsemod.kinds.mve_depthwise import MveDepthwise

_SUMS = ("r0", "r2", "r4", "r6")


def instructions(loops: MveDepthwise, low: int = -128, high: int = 127, left: int = 0) -> list[str]:
    """Return the code of `outputs` in the template.

    q0 to q3 hold a channel's weights, moved by a column (q2), a row (q1), and both (q3); q4 the addresses of four columns of words,
    q6 the places of outputs, and q7 what has no register: the outputs' address, the groups, the end of the constants, and the bytes from
    a channel's last word to the next channel's first one."""
    code = [
        "vldrw.u32 q4, [r0]",
        "vldrw.u32 q6, [r0, #16]",
        "vadd.i32 q4, q4, r12",
        "vmov q7[2], q7[0], r9, r10",
    ]
    code += [
        f"movw r1, #{loops.group_bytes}",
        "mul r1, r1, lr",
        "sub r1, r1, #4",
        "vmov q7[3], q7[1], lr, r1",
    ]
    mask = ["mov r0, #12", "vctp.8 r0"]
    code += [*([] if loops.tail else mask), "2:", *(mask if loops.tail else [])]
    code += [
        "vpst",
        "vldrbt.8 q0, [r11], #12",
        "ldr r1, [r11], #4",
        "ldr r3, [r11], #4",
        "ldrsb r5, [r11], #1",
    ]
    if loops.stride == 1:
        code += [
            "mov r0, #0",
            "vmov q2, q0",
            "vshlc q2, r0, #32",
            "vshl.i32 q1, q0, #8",
            "vshl.i32 q3, q2, #8",
        ]
    code += ["vmov.32 r9, q7[0]", "add r0, r9, #1", "vmov.32 q7[0], r0", "vmov.32 r10, q7[1]", "3:"]
    right = 2 * loops.stride * loops.channels
    if loops.blocks:
        code += [f"mov r12, #{loops.blocks}", "dls lr, r12", "1:", *_sums(loops, 2 * loops.stride)]
        code += [*_output(loops, low, high, left), "vstrb.32 q5, [r9, q6]", *_added("r9", right), "le lr, 1b"]
    if loops.tail:
        mask_bits = 0x0F0F if loops.stride == 1 else (1 << (4 * loops.tail)) - 1
        code += [*_sums(loops, loops.tail), *_output(loops, low, high, left)]
        code += [f"movw r12, #{mask_bits}", "vmsr p0, r12", "vpst", "vstrbt.32 q5, [r9, q6]"]
    code += _added("r9", loops.down * loops.made[1] * loops.channels - loops.blocks * right)
    code += ["mov r12, #128", "vadd.i32 q4, q4, r12", "subs r10, r10, #1", "bne 3b"]
    code += ["vmov.32 r12, q7[3]", "vsub.i32 q4, q4, r12", "vmov.32 r12, q7[2]", "cmp r11, r12", "bne 2b"]
    return code


def _added(register: str, number: int) -> list[str]:
    """Return the code that adds a number from 0 to 65535."""
    if number == 0:
        return []
    if number < 4096:
        return [f"add {register}, {register}, #{number}"]
    high = [f"movt r12, #{number >> 16}"] if number >> 16 else []
    return [f"movw r12, #{number & 0xFFFF}", *high, f"add {register}, {register}, r12"]


def _sums(loops: MveDepthwise, columns: int) -> list[str]:
    """Return the code of the sums of up to four outputs, in so many columns."""
    load = "vldrw.u32 q5, [q4, #128]!"
    if loops.stride == 2:
        code = [line for k in range(columns) for line in (load, f"vmladav.s8 {_SUMS[k]}, q5, q0")]
    elif columns == 2:
        code = [
            load,
            *(f"vmladav.s8 {_SUMS[k]}, q5, {weights}" for k, weights in enumerate(("q0", "q2", "q1", "q3"))),
        ]
    else:
        code = [load, "vmladav.s8 r0, q5, q0", "vmladav.s8 r4, q5, q1"]
    return [*code, "vmov q5[2], q5[0], r0, r4", "vmov q5[3], q5[1], r2, r6"]


def _output(loops: MveDepthwise, low: int, high: int, left: int) -> list[str]:
    moved = [f"vshl.i32 q5, q5, #{left}"] if left else []
    code = ["vadd.i32 q5, q5, r1", *moved, "vqdmulh.s32 q5, q5, r3", "vrshl.s32 q5, r5"]
    code += ["vqmovnb.s32 q5, q5", "vqadd.s16 q5, q5, r8", "vqmovnb.s16 q5, q5"]
    for bound, needed, operation in ((low, low > -128, "vmax"), (high, high < 127, "vmin")):
        if needed:
            code += [f"mov r12, #{bound & 0xFF}", "vdup.8 q3, r12", f"{operation}.s8 q5, q5, q3"]
    clamped = (low, high) != (-128, 127)
    return code + (["vshl.i32 q3, q2, #8"] if clamped and loops.stride == 1 else [])
