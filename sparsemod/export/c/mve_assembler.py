"""The instructions of filters on one or two windows for cores with Helium (MVE).

Registers: x0 (r1) and x1 (r3) point to the windows' taps, w (r5) to the constants. Four sums of each window, or eight of one, lie in
the even registers, where the vector unit can add to them. q7 holds the place of the outputs and the end of the constants, q6 the
outputs' distances, q5 the output's zero point, and p0 the taps of a last vector.
"""

from sparsemod.kinds.mve_filters import LANES, Filters, Sums

_FIRST = ("r0", "r2", "r4", "r6")
_SECOND = ("r8", "r10", "r12", "lr")
_COUNT = "r11"
_JUMP = ["add r1, r1, r9", "add r3, r3, r9"]


def instructions(filters: Filters, low: int = -128, high: int = 127, left: int = 0) -> list[str]:
    """Return the code of a function whose arguments lie in r0 (outputs), r1, r3 (taps), r2 (65536 times the distance of the outputs of both
    windows, or of the fifth filter), r4 (end of the whole groups), r5 (constants), r6 (zero point) and r9 (jump between runs)."""
    code = [
        "vmov q7[2], q7[0], r0, r4",
        "vdup.16 q5, r6",
        "mov r8, #0",
        "vidup.u32 q6, r8, #1",
        "mov r8, #0x10001",
        "vmul.i32 q6, q6, r8",
        "vadd.i32 q6, q6, r2",
    ]
    if filters.sums.rows > 1:
        code.append("vmov q7[3], q7[1], r1, r3")
    if filters.sums.masked:
        code += [f"mov r8, #{filters.sums.tail}", "vctp.8 r8"]
    if filters.groups:
        code.append("1:")
        code += _sums(filters, filters.group) + _outputs(filters, filters.group, low, high, left)
        code += ["vmov r0, r4, q7[2], q7[0]", "vstrb.16 q0, [r0, q6]", f"add r0, r0, #{filters.group}"]
        code += ["vmov.32 q7[0], r0", *_back(filters), "cmp r5, r4", "bne 1b"]
    if filters.rest:
        code += _sums(filters, filters.rest) + _outputs(filters, filters.rest, low, high, left)
        code += [
            "vmov.32 r0, q7[0]",
            f"movw r4, #{_mask(filters)}",
            "vmsr p0, r4",
            "vpst",
            "vstrbt.16 q0, [r0, q6]",
        ]
    return code


def _mask(filters: Filters) -> int:
    """Return the bits of the bytes that the last group writes: filter i of the first window (of the first four) is halfword 2 i."""
    if filters.pair:
        return (1 << (4 * filters.rest)) - 1
    bits = (0b11 << (4 * i) for i in range(min(filters.rest, 4)))
    more = (0b1100 << (4 * i) for i in range(filters.rest - 4))
    return sum(bits) | sum(more)


def _back(filters: Filters) -> list[str]:
    """Return the code that moves the taps' addresses back to the first tap; several runs restore them."""
    sums = filters.sums
    if sums.rows > 1:
        return []
    registers = ("r1", "r3") if filters.pair else ("r1",)
    code = []
    for part in (sums.taps & ~0xFFF, sums.taps & 0xFFF):
        code += [f"sub {r}, {r}, #{part}" for r in registers if part]
    return code


def _sums(filters: Filters, count: int) -> list[str]:
    sums = filters.sums
    before, turn, turns = sums.turns
    registers = _registers(filters, count)
    code: list[str] = []
    if sums.rows > 1:
        # Each run, then the jump to the next one.
        if not turn:
            for row in range(sums.rows):
                for vector in range(sums.whole):
                    code += _vector(filters, count, LANES, first=row == vector == 0)
                code += _JUMP if row + 1 < sums.rows else []
        else:
            code += [f"mov {r}, #0" for r in registers] + [f"mov {_COUNT}, #{turns}", "2:"]
            for _ in range(turn):
                code += _vector(filters, count, LANES)
            code += [*_JUMP, f"subs {_COUNT}, {_COUNT}, #1", "bne 2b"]
        return [*code, "vmov r1, r3, q7[3], q7[1]"]
    for vector in range(before):
        code += _vector(filters, count, LANES, first=vector == 0)
    if turns:
        code += [f"mov {_COUNT}, #{turns}", "2:"]
        for _ in range(turn):
            code += _vector(filters, count, LANES)
        code += [f"subs {_COUNT}, {_COUNT}, #1", "bne 2b"]
    if sums.tail:
        code += _vector(filters, count, sums.tail, first=before == 0, masked=sums.masked)
    return code


def _registers(filters: Filters, count: int) -> list[str]:
    """Return the registers of the sums of `count` filters."""
    if filters.pair:
        return [r for pair in zip(_FIRST[:count], _SECOND[:count], strict=True) for r in pair]
    return [*_FIRST, *_SECOND][:count]


def _vector(
    filters: Filters, count: int, taps: int, *, first: bool = False, masked: bool = False
) -> list[str]:
    """Return the code of one vector of taps. Lanes beyond the taps are zero in the windows, so those of the weights may be anything."""
    add = "vmladav.s8" if first else "vmladava.s8"
    code: list[str] = []
    if masked:
        code += ["vpstt" if filters.pair else "vpst", f"vldrbt.8 q0, [r1], #{taps}"]
        code += [f"vldrbt.8 q1, [r3], #{taps}"] if filters.pair else []
    else:
        code.append(f"vldrb.8 q0, [r1], #{taps}")
    if not filters.pair:
        for k, register in enumerate(_registers(filters, count)):
            weights = f"q{1 + k % 4}"
            code += [f"vldrb.8 {weights}, [r5], #{taps}", f"{add} {register}, {weights}, q0"]
        return code
    late = [] if masked else [f"vldrb.8 q1, [r3], #{taps}"]
    for k in range(count):
        weights = f"q{2 + k % 3}"
        code += [f"vldrb.8 {weights}, [r5], #{taps}", f"{add} {_FIRST[k]}, {weights}, q0"]
        code += [*late, f"{add} {_SECOND[k]}, {weights}, q1"]
        late = []
    return code


def _outputs(filters: Filters, count: int, low: int, high: int, left: int) -> list[str]:
    """Return the code that makes bytes of the sums: halfword 2 i of q0 is that of register i of the first four, 2 i + 1 of the second."""
    used = set(_registers(filters, count))
    two = filters.pair or count > 4
    # A lane without a sum gets any register; its output is not stored.
    first = [r if r in used else _FIRST[0] for r in _FIRST]
    code = [f"vmov q0[2], q0[0], {first[0]}, {first[2]}", f"vmov q0[3], q0[1], {first[1]}, {first[3]}"]
    vectors = ["q0"]
    if two:
        second = [r if r in used else _SECOND[0] for r in _SECOND]
        code += [
            f"vmov q1[2], q1[0], {second[0]}, {second[2]}",
            f"vmov q1[3], q1[1], {second[1]}, {second[3]}",
        ]
        vectors.append("q1")
    steps = (
        ("vldrb.8 {w}, [r5], #16", "vadd.i32 {v}, {v}, {w}"),
        ("vldrb.8 {w}, [r5], #16", "vqdmulh.s32 {v}, {v}, {w}"),
        ("vldrb.s32 {w}, [r5], #4", "vrshl.s32 {v}, {v}, {w}"),
    )
    for k, (load, step) in enumerate(steps):
        if filters.pair:
            code.append(load.format(w=f"q{2 + k}"))
            code += [step.format(v=v, w=f"q{2 + k}") for v in vectors]
        else:
            for i, v in enumerate(vectors):
                code += [load.format(w=f"q{2 + i}"), step.format(v=v, w=f"q{2 + i}")]
        if k == 0 and left:
            code += [f"vshl.i32 {v}, {v}, #{left}" for v in vectors]
    code += ["vqmovnb.s32 q0, q0", *(["vqmovnt.s32 q0, q1"] if two else []), "vqadd.s16 q0, q0, q5"]
    code.append("vqmovnb.s16 q0, q0")
    if low > -128:
        code += [f"movs r0, #{low & 0xFF}", "vdup.8 q2, r0", "vmax.s8 q0, q0, q2"]
    if high < 127:
        code += [f"movs r0, #{high & 0xFF}", "vdup.8 q2, r0", "vmin.s8 q0, q0, q2"]
    return code


def stored_vectors(sums: Sums) -> list[tuple[int, int]]:
    """Return (first tap, number of taps) of each vector of weights."""
    found = []
    for row in range(sums.rows):
        start = row * sums.run
        found += [(start + LANES * k, LANES) for k in range(sums.whole)]
        found += [(start + LANES * sums.whole, sums.tail)] if sums.tail else []
    return found
