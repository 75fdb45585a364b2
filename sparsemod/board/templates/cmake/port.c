/* Written once by sparsemod; yours to change: the serial line of your board. Examples: standalone/port_cmsdk.c, port_nrf51.c, port_ns16550.c. */
#include "board.h"

#error "write port_init, port_get and port_put for your board's serial line, or choose another file with -DBOARD_PORT=..."

void port_init(void)
{
    /* Clock, pins and serial line, 8 bits, no parity. */
}

int port_get(void)
{
    /* Wait for a byte and return it. */
    return 0;
}

void port_put(char byte)
{
    /* Send a byte; wait while the line is busy. */
    (void)byte;
}
