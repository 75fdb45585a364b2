"""The instructions of the kernels for cores with those of Armv6-M alone, as whole functions: such a core has eight low registers, which
all arithmetic needs, and a compiler leaves too few of them to code inside of a function.

A word with taps of two windows times a weight has the product of the first window in its low half and that of the second one above.
The sum of two such products fits: 2 x 127 x 128 < 2^15. It is added to a total t (modulo 2^32), and its upper half to a sum h:
`asrs` moves the sign of the lower half to the carry, which `adcs` adds. In the end h is the second window's sum, and t - 65536 h the
first one's.

A sum becomes a byte through floor(sum x multiplier / 2^24), from one byte of the multiplier after the other: exact below 2^23.
"""

from dataclasses import dataclass

from sparsemod.kinds.dsp import Turns

_SAVE = ["push {r4-r7, lr}", "mov r4, r8", "mov r5, r9", "mov r6, r10", "mov r7, r11", "push {r4-r7}"]
_RESTORE = ["pop {r4-r7}", "mov r8, r4", "mov r9, r5", "mov r10, r6", "mov r11, r7", "pop {r4-r7, pc}"]

_NEAR = 125  # instructions that a conditional branch goes back over


@dataclass(frozen=True)
class Byte:
    """How sums become bytes: the output's zero point, and the lowest and the highest output."""

    zero: int
    low: int
    high: int

    @property
    def offset(self) -> int:
        """The zero point above the lowest output, which may be negative."""
        return self.zero - self.low


def _constant(register: str, value: int) -> list[str]:
    """Return code that makes a whole number from 0 on."""
    digits = []
    while value > 255:
        digits.append(value & 0xFF)
        value >>= 8
    code = [f"movs {register}, #{value}"]
    for digit in reversed(digits):
        code += [f"lsls {register}, {register}, #8", *([f"adds {register}, #{digit}"] if digit else [])]
    return code


def _rounding(byte: Byte, shift: str, to: str) -> list[str]:
    """Return code for (2 (zero - low) + 1) << (shift - 1): half a step, and the zero point above the lowest output."""
    code = _constant(to, abs(2 * byte.offset + 1))
    code += [f"rsbs {to}, {to}, #0"] if byte.offset < 0 else []
    return [*code, f"lsls {to}, {to}, {shift}", f"asrs {to}, {to}, #1"]


def _scaled(sum_: str, record: str, place: int = 4) -> list[str]:
    """Return code that leaves floor(sum x multiplier / 2^24) in r1; the multiplier lies at `record` + `place`. It uses r2."""
    code = [f"ldrb r1, [{record}, #{place}]", f"muls r1, {sum_}", "asrs r1, r1, #8"]
    for number in (1, 2, 3):
        code += [f"ldrb r2, [{record}, #{place + number}]", f"muls r2, {sum_}", "adds r1, r1, r2"]
        code += ["asrs r1, r1, #8"] if number < 3 else []
    return code


def _clamped(byte: Byte, label: str) -> list[str]:
    """Return code that clamps r1, which is above the lowest output by its value, and makes the output of it. It uses r2."""
    span = byte.high - byte.low
    code = [f"cmp r1, #{span}", f"bls {label}f", "asrs r1, r1, #31", "mvns r1, r1", f"movs r2, #{span}"]
    code += ["ands r1, r2", f"{label}:"]
    if byte.low:
        code.append(f"{'adds' if byte.low > 0 else 'subs'} r1, #{abs(byte.low)}")
    return code


def _looped(turns: Turns, step: list[str], place: str, end: str) -> list[str]:
    """Return the code of all steps: a loop until the address `place` is `end`, and the rest."""
    code: list[str] = []
    if turns.loops:
        near = len(step) * turns.count < _NEAR
        back = ["bne 2b"] if near else ["beq 9f", "b 2b", "9:"]
        code += ["2:", *step * turns.count, f"cmp {place}, {end}", *back]
    return code + step * turns.rest


_WINDOWS = [
    line
    for total, upper in (("r8", "r6"), ("r9", "r7"))
    for line in (
        "ldmia r1!, {r4, r5}",
        "muls r4, r2",
        "muls r5, r3",
        "adds r4, r4, r5",
        f"add {total}, r4",
        "asrs r4, r4, #16",
        f"adcs {upper}, r4",
    )
]
_STEP = ["ldrsh r3, [r0, r1]", "sxtb r2, r3", "asrs r3, r3, #8", *_WINDOWS]


def filters(turns: Turns, outputs: int, lanes: int, byte: Byte) -> list[str]:
    """Return a function (columns, weights, records, places of the four outputs): filters on four windows.

    lr: the distance of the weights from the columns; r8, r9: totals; r10: end of the loop; r11: columns; r12: number of the filter."""
    code = [*_SAVE, "push {r2}", "ldmia r3!, {r4-r7}", "push {r4-r7}"]  # [sp]: places; [sp, 16]: records
    code += ["mov r11, r0", "subs r1, r1, r0", "mov lr, r1"]
    if turns.loops:
        code += [*_constant("r1", 16 * turns.count * turns.loops), "adds r0, r0, r1", "mov r10, r0"]
    code += ["movs r0, #0", "mov r12, r0", "1:"]
    code += ["mov r0, lr", "mov r1, r11", "movs r6, #0", "movs r7, #0", "mov r8, r6", "mov r9, r6"]
    code += _looped(turns, _STEP, "r1", "r10")
    code += ["lsls r2, r6, #16", "mov r4, r8", "subs r4, r4, r2", "lsls r3, r7, #16", "mov r2, r9"]
    code += ["subs r2, r2, r3", "mov r5, r6", "mov r6, r2"]
    code += ["ldr r0, [sp, #16]", "ldr r1, [r0]", "ldr r3, [r0, #8]"]
    code += [f"adds {each}, {each}, r1" for each in ("r4", "r5", "r6", "r7")]
    code += [*_rounding(byte, "r3", "r1"), "mov r8, r1"]
    for window, sum_ in enumerate(("r4", "r5", "r6", "r7")):
        code += [*_scaled(sum_, "r0"), "add r1, r8", "asrs r1, r1, r3", *_clamped(byte, str(3 + window))]
        code += [f"ldr r2, [sp, #{4 * window}]", "add r2, r12", "strb r1, [r2]"]
    code += ["adds r0, #12", "str r0, [sp, #16]", "mov r0, lr", "adds r0, #2"]
    code += ["mov r1, r12", "adds r1, #1", "mov r12, r1"]
    if outputs > lanes:
        code += [
            "lsls r2, r1, #29",
            "bne 7f",
            *_constant("r2", 2 * lanes * (turns.count * turns.loops + turns.rest - 1)),
        ]
        code += ["adds r0, r0, r2", "7:"]
    code += ["mov lr, r0"]
    if outputs <= 255:
        code += [f"cmp r1, #{outputs}"]
    else:
        code += [*_constant("r2", outputs), "cmp r1, r2"]
    return [*code, "beq 8f", "b 1b", "8:", "add sp, #20", *_RESTORE]


def columns() -> list[str]:
    """Return a function (to, addresses of four windows, count): appends so many taps of the windows to their columns, two at a time."""

    def tap(place: int) -> list[str]:
        return [
            line
            for k, (first, second) in enumerate((("r4", "r5"), ("r6", "r7")))
            for line in (
                f"ldrsb r1, [{first}, r2]",
                f"ldrsb r3, [{second}, r2]",
                "lsls r3, r3, #16",
                "adds r1, r1, r3",
                f"str r1, [r0, #{place + 8 * k}]",
            )
        ]

    code = ["push {r4-r7, lr}", "ldmia r1!, {r4-r7}"]
    code += [f"adds {each}, {each}, r2" for each in ("r4", "r5", "r6", "r7")]
    code += ["rsbs r2, r2, #0", "1:", *tap(0), "adds r2, #1", "beq 2f", *tap(4)]
    return [
        *code,
        "adds r0, #16",
        "adds r2, #1",
        "bne 1b",
        "pop {r4-r7, pc}",
        "2:",
        "adds r0, #16",
        "pop {r4-r7, pc}",
    ]


def depthwise(stride: int, byte: Byte) -> list[str]:
    """Return a function (words, numbers, outputs, sizes): two rows of outputs of one channel.

    `numbers`: multiplier, bias, shift, rounding, and nine weights, each a word. `sizes`: words of the distances between outputs, of the
    second row from the first one, and of all outputs of a row. r4: total; r6: upper sum; r7: distance of the rows; r8: distance of the
    outputs; r9: outputs; r10: their end."""
    code = [
        *_SAVE,
        "ldmia r3!, {r4, r5, r6}",
        "mov r8, r4",
        "mov r7, r5",
        "mov r9, r2",
        "adds r2, r2, r6",
        "mov r10, r2",
    ]
    code += ["mov r5, r1", "1:"]
    for pair in range(5):
        place = 16 + 8 * pair
        product = [
            "ldmia r0!, {r1, r2}" if pair < 4 else "ldmia r0!, {r1}",
            f"ldr r3, [r5, #{place}]",
            "muls r1, r3",
        ]
        if pair < 4:
            product += [f"ldr r3, [r5, #{place + 4}]", "muls r2, r3", "adds r1, r1, r2"]
        if pair:
            code += [*product, "adds r4, r4, r1", "asrs r1, r1, #16", "adcs r6, r1"]
        else:
            code += ["movs r6, #0", *product, "movs r4, r1", "asrs r1, r1, #16", "adcs r6, r1"]
    code += [f"subs r0, #{36 - 12 * stride}", "lsls r1, r6, #16", "subs r4, r4, r1"]
    code += ["ldr r1, [r5, #4]", "adds r4, r4, r1", "adds r6, r6, r1", "ldr r3, [r5, #8]"]
    for row, sum_ in ((1, "r6"), (0, "r4")):  # without a second row, both are the first one
        code += [*_scaled(sum_, "r5", 0), "ldr r2, [r5, #12]", "adds r1, r1, r2", "asrs r1, r1, r3"]
        code += [*_clamped(byte, str(3 + row)), "mov r2, r9", "strb r1, [r2, r7]" if row else "strb r1, [r2]"]
    return [*code, "add r9, r8", "cmp r9, r10", "beq 8f", "b 1b", "8:", *_RESTORE]


_PRODUCTS = [
    line
    for total, upper in (("r8", "r9"), ("r10", "r11"))
    for line in (
        "ldmia r4!, {r5}",
        "lsrs r6, r5, #8",
        "ands r6, r7",
        "muls r5, r1",
        "muls r6, r2",
        "adds r5, r5, r6",
        "subs r5, r5, r3",
        f"add {total}, r5",
        "asrs r5, r5, #16",
        f"add {upper}, r5",
    )
]


def linear(
    turns: Turns, outputs: int, byte: Byte, *, partial: bool = False, joined: bool = False
) -> list[str]:
    """Return a function (words, weights, records, outputs, sums): four filters at a time on one vector, or on a part of it.

    A word of weights has bytes a, b of a filter and c, d of another, each 128 too large. For taps x and y, the words of a step are x,
    y - 256 x, and what the 128s add, less 2^15 to round: word times x plus (b + 65536 d) times (y - 256 x) is a x + b y, and c x + d y
    above. `partial`: adds to the sums; `joined`: the outputs have the sums of earlier parts."""
    quads = (outputs + 3) // 4
    code = [*_SAVE]  # the fifth argument is at [sp, 36]
    code += [
        "ldr r4, [sp, #36]",
        "push {r0, r2, r3, r4}",
        "mov r4, r1",
    ]  # [sp]: words, records, outputs, sums
    code += [*_constant("r7", quads), "push {r7}"]  # [sp]: groups left; the others 4 bytes further
    if turns.loops:
        code += [*_constant("r1", 12 * turns.count * turns.loops), "adds r0, r0, r1", "mov r12, r0"]
    code += ["1:", "ldr r0, [sp, #4]", "movs r7, #255", "lsls r5, r7, #16", "orrs r7, r5"]
    code += ["movs r6, #0", *(f"mov {each}, r6" for each in ("r8", "r9", "r10", "r11"))]
    code += _looped(turns, ["ldmia r0!, {r1, r2, r3}", *_PRODUCTS], "r0", "r12")
    code += ["mov lr, r4"]
    sums = ["mov r4, r8", "mov r5, r9", "lsls r0, r5, #16", "subs r4, r4, r0"]
    sums += ["mov r6, r10", "mov r7, r11", "lsls r0, r7, #16", "subs r6, r6, r0"]
    code += sums
    if partial or joined:
        code += ["ldr r0, [sp, #16]"]
        for number, each in enumerate(("r4", "r5", "r6", "r7")):
            code += [f"ldr r1, [r0, #{4 * number}]", f"adds {each}, {each}, r1"]
        code += ["stmia r0!, {r4-r7}" if partial else "adds r0, #16", "str r0, [sp, #16]"]
    if not partial:
        code += ["ldr r0, [sp, #8]"]
        for number, each in enumerate(("r4", "r5", "r6", "r7")):
            code += ["ldr r1, [r0]", f"adds {each}, {each}, r1", "ldr r3, [r0, #8]", *_scaled(each, "r0")]
            code += [
                *_rounding(byte, "r3", "r2"),
                "adds r1, r1, r2",
                "asrs r1, r1, r3",
                *_clamped(byte, str(3 + number)),
            ]
            code += ["ldr r2, [sp, #12]", f"strb r1, [r2, #{number}]", "adds r0, #12"]
            if number < 3 and outputs % 4 == number + 1:
                code += ["ldr r2, [sp]", "cmp r2, #1", "bne 7f", "b 8f", "7:"]
        code += ["str r0, [sp, #8]", "ldr r2, [sp, #12]", "adds r2, #4", "str r2, [sp, #12]"]
    code += ["mov r4, lr", "ldr r2, [sp]", "subs r2, #1", "str r2, [sp]", "beq 8f", "b 1b"]
    return [*code, "8:", "add sp, #20", *_RESTORE]
