#include <stdio.h>
#include <stdlib.h>
#include <string.h>

{% for name, lengths in networks %}
#include "{{ name }}.h"
{% endfor %}

int main(int count, char **values)
{
    const int network = count == 3 ? atoi(values[1]) : -1;
    const int real = count == 3 && strcmp(values[2], "float") == 0;
    switch (network) {
{% for name, lengths in networks %}
    case {{ loop.index0 }}: {
        static float sample[{{ name | upper }}_INPUT_SIZE];
        static int8_t output[{{ name | upper }}_OUTPUT_SIZE];
{% if lengths %}
        static int32_t length;
{% endif %}
        for (;;) {
{% if lengths %}
            if (fread(&length, sizeof length, 1, stdin) != 1) {
                break;
            }
{% endif %}
            if (real) {
                if (fread(sample, sizeof sample, 1, stdin) != 1) {
                    break;
                }
                {{ name }}_quantize(sample, {{ name }}_input());
            } else if (fread({{ name }}_input(), {{ name | upper }}_INPUT_SIZE, 1, stdin) != 1) {
                break;
            }
            {{ name }}_run({{ name }}_input(), {{ "length, " if lengths }}output);
            if (fwrite(output, sizeof output, 1, stdout) != 1) {
                return 1;
            }
        }
        break;
    }
{% endfor %}
    default:
        return 2;
    }
    return 0;
}
