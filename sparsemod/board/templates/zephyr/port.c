/* Written once by sparsemod; yours to change: the console's serial line, and the cycle counter of Zephyr's kernel. */
#include "board.h"

#include <zephyr/device.h>
#include <zephyr/drivers/uart.h>
#include <zephyr/kernel.h>

static const struct device *const line = DEVICE_DT_GET(DT_CHOSEN(zephyr_console));

void port_init(void)
{
}

int port_get(void)
{
    unsigned char byte;

    while (uart_poll_in(line, &byte) != 0) {
    }
    return byte;
}

void port_put(char byte)
{
    uart_poll_out(line, (unsigned char)byte);
}

void counter_init(void)
{
}

uint32_t counter_read(void)
{
    return k_cycle_get_32();
}

const char *counter_name(void)
{
    return "zephyr";
}

uint32_t counter_hertz(void)
{
    return (uint32_t)sys_clock_hw_cycles_per_sec();
}
