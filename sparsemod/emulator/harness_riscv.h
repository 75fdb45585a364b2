/* The harness on RISC-V with compressed instructions turned off; harness.c includes it. The counter is minstret (-icount shift=0). */
#if HARNESS_PART == 1
void harness_start(void);
void harness_report_fault(uint32_t cause, uint32_t pc, uint32_t value, const uint32_t *frame);

static int semihosting(int operation, const void *argument)
{
    register int a0 __asm__("a0") = operation;
    register const void *a1 __asm__("a1") = argument;
    /* The three instructions that mark a call; aligned, because they must be in one page. */
    __asm__ volatile(".balign 16\n slli x0, x0, 0x1f\n ebreak\n srai x0, x0, 7" : "+r"(a0) : "r"(a1) : "memory");
    return a0;
}

static uint32_t *stack_pointer(void)
{
    uint32_t *pointer;
    __asm__ volatile("mv %0, sp" : "=r"(pointer));
    return pointer;
}

#define TICKS(from, to) ((to) - (from))
#define TWO_MARKS __asm__ volatile("jal ra, harness_mark\n jal ra, harness_mark\n" ::: "ra", "memory")

static void start_counter(void)
{
    __asm__ volatile("csrw minstret, zero\n csrw minstreth, zero" ::: "memory");
}

static void stop_counter(void)
{
}

static void enable_units(void)
{
    extern uint32_t _rom_guard;
    /* Thread-local storage, for the C library's errno. */
    extern uint32_t _tls_start;
    /* Code and constants lie below RAM: a write to them, also by a stack that is exceeded, faults (a locked region of physical memory). */
    __asm__ volatile("csrw pmpaddr0, %0\n csrw pmpcfg0, %1" ::"r"(&_rom_guard), "r"(0x9d));
    __asm__ volatile("la t0, harness_fault\n csrw mtvec, t0\n mv tp, %0" ::"r"(&_tls_start) : "t0");
}

#else

void harness_report_fault(uint32_t cause, uint32_t pc, uint32_t value, const uint32_t *frame)
{
    say("FAULT");
    if (frame < &_stack_bottom + 8) {
        say(": the stack is exceeded\n");
        leave(1);
    }
    say_word(" cause ", cause);
    say_word(" pc ", pc);
    say_word(" address ", value);
    say("\n");
    leave(1);
}

__attribute__((naked, aligned(4))) void harness_fault(void)
{
    /* Reset the stack pointer: the network may have exhausted the stack. */
    __asm__ volatile("mv a3, sp\n la sp, _stack_top\n csrr a0, mcause\n csrr a1, mepc\n csrr a2, mtval\n j harness_report_fault\n");
}

/* Called between layers. It preserves every register except ra, so the call is one instruction of four bytes. */
__attribute__((naked)) void harness_mark(void)
{
    __asm__ volatile(
        "addi sp, sp, -16\n sw t0, 0(sp)\n sw t1, 4(sp)\n sw t2, 8(sp)\n"
        "la t0, harness_next\n lw t1, 0(t0)\n"
        "csrr t2, minstreth\n sw t2, 4(t1)\n"
        "csrr t2, minstret\n sw t2, 0(t1)\n"
        "csrr t2, minstreth\n sw t2, 8(t1)\n"
        "addi t1, t1, 12\n sw t1, 0(t0)\n"
        "lw t0, 0(sp)\n lw t1, 4(sp)\n lw t2, 8(sp)\n addi sp, sp, 16\n ret\n");
}

__attribute__((naked, noipa)) static void empty_run(const int8_t *input __attribute__((unused)), int8_t *output __attribute__((unused)))
{
    __asm__ volatile("ret\n");
}

/* The first instruction after a reset. */
__attribute__((naked, section(".vectors"), used)) void harness_start(void)
{
    __asm__ volatile("la sp, _stack_top\n j harness_reset\n");
}
#endif
