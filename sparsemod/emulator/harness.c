/* Run a network on the emulated core: start-up, stack painting, instruction counts, input and output through semihosting.
 *
 * Job file (32-bit words, little endian): samples, input size, output size, then the inputs, one byte per element.
 * Result file: magic, stack bytes, ticks between the marks around an empty call, ticks between two consecutive marks, number of words of
 * marks of one inference (three per mark), those words, then the outputs of all samples, one byte per element, then the magic again.
 *
 * This file must not call the C library, because linked library code counts as the network's. What depends on the instruction set is in
 * HARNESS_CORE, harness_arm.h or harness_riscv.h.
 */
#include <stdint.h>

typedef void run_function(const int8_t *input, int8_t *output);

extern void network_run(const int8_t *input, int8_t *output);
extern uint32_t _stack_top, _stack_bottom, _data_from, _data_start, _data_end, _bss_start, _bss_end, _heap_start, _heap_end;

void harness_reset(void);
void harness_fault(void);
void harness_mark(void);
void harness_main(void);

#define MAGIC 0x53504d44u
#define PAINT 0xa5a5a5a5u
#define MARKS 1024u
/* Timer wraps, next free mark, and marks (timer, wraps before its read, wraps after). The assembly below writes them. */
uint32_t harness_wraps;
uint32_t *harness_next;
static uint32_t marks[3 * MARKS];

#define HARNESS_PART 1
#include HARNESS_CORE
#undef HARNESS_PART

static void say(const char *text)
{
    (void)semihosting(0x04, text);
}

__attribute__((noreturn)) static void leave(int failed)
{
    /* SYS_EXIT: application exit, or internal error. */
    (void)semihosting(0x18, (const void *)(uintptr_t)(failed ? 0x20024 : 0x20026));
    for (;;) {
    }
}

static void say_word(const char *title, uint32_t value)
{
    char text[12];
    int i;
    say(title);
    for (i = 0; i < 8; i++)
        text[i] = "0123456789abcdef"[(value >> (28 - 4 * i)) & 15u];
    text[8] = 0;
    say(text);
}

#define HARNESS_PART 2
#include HARNESS_CORE

__attribute__((noipa)) static void two_marks(const int8_t *input, int8_t *output)
{
    (void)input;
    (void)output;
    TWO_MARKS;
}

/* Set marks[0] before and the last mark after the call. Return nothing, so that the cost is the same for every function. */
__attribute__((noipa)) static void timed(run_function *run, const int8_t *input, int8_t *output)
{
    harness_next = marks;
    harness_wraps = 0;
    start_counter();
    harness_mark();
    run(input, output);
    harness_mark();
    stop_counter();
}

static int open_file(const char *name, uint32_t length, int mode)
{
    uint32_t block[3];
    int handle;
    block[0] = (uint32_t)(uintptr_t)name;
    block[1] = (uint32_t)mode;
    block[2] = length;
    handle = semihosting(0x01, block);
    if (handle < 0) {
        say("NOFILE ");
        say(name);
        leave(1);
    }
    return handle;
}

static void transfer(int operation, int handle, void *data, uint32_t size)
{
    uint32_t block[3];
    if (size == 0)
        return;
    block[0] = (uint32_t)handle;
    block[1] = (uint32_t)(uintptr_t)data;
    block[2] = size;
    if (semihosting(operation, block) != 0) {
        say("NOTRANSFER\n");
        leave(1);
    }
}

#define READ 0x06
#define WRITE 0x05

/* Return the bytes of stack that a run touches below the caller's frame. */
__attribute__((noipa)) static uint32_t stack_use(run_function *run, const int8_t *input, int8_t *output)
{
    uint32_t *top = stack_pointer();
    volatile uint32_t *word;
    for (word = &_stack_bottom; word < top; word++)
        *word = PAINT;
    run(input, output);
    for (word = &_stack_bottom; word < top && *word == PAINT; word++) {
    }
    return (uint32_t)((uintptr_t)top - (uintptr_t)word);
}

void harness_main(void)
{
    uint32_t header[3], result[5];
    int in = open_file("job.bin", 7, 1), out = open_file("result.bin", 10, 5);
    int8_t *input = (int8_t *)&_heap_start, *output;
    uint32_t sample, count, word;

    transfer(READ, in, header, sizeof header);
    output = input + ((header[1] + 15u) & ~15u);
    if ((uintptr_t)(output + header[2]) > (uintptr_t)&_heap_end) {
        say("NOROOM\n");
        leave(1);
    }
    transfer(READ, in, input, header[1]);

    harness_next = marks;
    result[0] = MAGIC;
    result[1] = stack_use(network_run, input, output);
    timed(empty_run, input, output);
    result[2] = TICKS(marks[0], marks[3]);
    timed(two_marks, input, output);
    result[3] = TICKS(marks[3], marks[6]);
    timed(network_run, input, output);
    count = (uint32_t)(harness_next - marks);
    result[4] = count;
    transfer(WRITE, out, result, sizeof result);
    transfer(WRITE, out, marks, count * 4u);
    for (sample = 0; sample < header[0]; sample++) {
        if (sample > 0) {
            transfer(READ, in, input, header[1]);
            harness_next = marks;
            network_run(input, output);
        }
        transfer(WRITE, out, output, header[2]);
    }
    word = MAGIC;
    transfer(WRITE, out, &word, sizeof word);
    say("DONE\n");
    leave(0);
}

void harness_reset(void)
{
    uint32_t *from = &_data_from, *to;
    enable_units();
    for (to = &_data_start; to < &_data_end; to++)
        *to = *from++;
    for (to = &_bss_start; to < &_bss_end; to++)
        *to = 0;
    harness_main();
}
