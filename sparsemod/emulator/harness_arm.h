/* The harness on Cortex-M; harness.c includes it. The counter is SysTick, of which a tick is shorter than an instruction (-icount shift=8). */
#if HARNESS_PART == 1
void harness_tick(void);
void harness_report_fault(const uint32_t *frame);

#define REGISTER(address) (*(volatile uint32_t *)(uintptr_t)(address))
#define SYSTICK_CONTROL REGISTER(0xE000E010)
#define SYSTICK_RELOAD REGISTER(0xE000E014)
#define SYSTICK_VALUE REGISTER(0xE000E018)

__attribute__((section(".vectors"), used)) const void *const harness_vectors[16] = {
    &_stack_top, (const void *)harness_reset, (const void *)harness_fault, (const void *)harness_fault,
    (const void *)harness_fault, (const void *)harness_fault, (const void *)harness_fault, (const void *)harness_fault,
    0, 0, 0, (const void *)harness_fault, 0, 0, (const void *)harness_fault, (const void *)harness_tick,
};

static int semihosting(int operation, const void *argument)
{
    register int r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

static uint32_t *stack_pointer(void)
{
    uint32_t *pointer;
    __asm__ volatile("mov %0, sp" : "=r"(pointer));
    return pointer;
}

#define TICKS(from, to) ((from) - (to)) /* it counts down */
#define TWO_MARKS __asm__ volatile("bl harness_mark\n bl harness_mark\n" ::: "lr", "memory")

static void start_counter(void)
{
    SYSTICK_RELOAD = 0xffffff;
    SYSTICK_VALUE = 0;
    SYSTICK_CONTROL = 7;
    /* The counter has its reload value from the next tick. */
    __asm__ volatile("nop\n nop\n nop\n nop" ::: "memory");
}

static void stop_counter(void)
{
    SYSTICK_CONTROL = 0;
}

static void enable_units(void)
{
#if defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)
    REGISTER(0xE000ED88) |= 0xf00000u; /* the floating-point and vector unit */
    __asm__ volatile("dsb\n isb" ::: "memory");
#endif
}

#else
void harness_report_fault(const uint32_t *frame)
{
    say("FAULT");
    if (frame < &_stack_bottom + 8) {
        say(": the stack is exceeded\n");
        leave(1);
    }
    say_word(" pc ", frame[6]);
    say_word(" lr ", frame[5]);
#if __ARM_ARCH >= 7
    say_word(" cfsr ", REGISTER(0xE000ED28));
    say_word(" bfar ", REGISTER(0xE000ED38));
#endif
    say("\n");
    leave(1);
}

__attribute__((naked)) void harness_fault(void)
{
    /* Reset the stack pointer: the network may have exhausted the stack. */
    __asm__ volatile("mov r0, sp\n ldr r1, =_stack_top\n mov sp, r1\n bl harness_report_fault\n .ltorg\n");
}

/* Five instructions per wrap, including the return: `handler` in architectures.py. */
__attribute__((naked)) void harness_tick(void)
{
    __asm__ volatile(
        "ldr r0, =harness_wraps\n ldr r1, [r0]\n adds r1, #1\n str r1, [r0]\n bx lr\n .ltorg\n");
}

/* Called between layers. It preserves every register except lr, so the call is one instruction of four bytes. The counter counts down.
 * Wraps are read twice, because the timer may wrap in between. */
__attribute__((naked)) void harness_mark(void)
{
    __asm__ volatile(
        "push {r0-r4, lr}\n"
        "ldr r0, =harness_next\n ldr r1, [r0]\n"
        "ldr r2, =0xE000E018\n ldr r3, =harness_wraps\n"
        "ldr r4, [r3]\n str r4, [r1, #4]\n"
        "ldr r4, [r2]\n str r4, [r1]\n"
        "ldr r4, [r3]\n str r4, [r1, #8]\n"
        "adds r1, #12\n str r1, [r0]\n"
        "pop {r0-r4, pc}\n .ltorg\n");
}

__attribute__((naked, noipa)) static void empty_run(const int8_t *input __attribute__((unused)), int8_t *output __attribute__((unused)))
{
    __asm__ volatile("bx lr\n");
}

#endif
