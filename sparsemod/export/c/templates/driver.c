#include <stdio.h>
#include <stdlib.h>
#include <string.h>

{% for name, lengths, kind in networks %}
#include "{{ name }}.h"
{% endfor %}

int main(int count, char **values)
{
    const int network = count == 4 ? atoi(values[1]) : -1;
    const int real = count == 4 && strcmp(values[2], "float") == 0;
    const int answers = count == 4 && strcmp(values[3], "answers") == 0;
    switch (network) {
{% for name, lengths, kind in networks %}
    case {{ loop.index0 }}: {
        static float sample[{{ name | upper }}_INPUT_SIZE];
        static int8_t output[{{ name | upper }}_OUTPUT_SIZE];
{% if kind == "normal" %}
        static int8_t input[{{ name | upper }}_INPUT_SIZE];
{% endif %}
{% if kind in answer_types %}
        static {{ answer_types[kind] % (name | upper) }};
{% endif %}
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
{% if kind == "normal" %}
            memcpy(input, {{ name }}_input(), sizeof input);
{% endif %}
            {{ name }}_run({{ name }}_input(), {{ "length, " if lengths }}output);
{% if kind in answer_types %}
            if (answers) {
{% if kind == "classes" %}
                answer[0] = {{ name }}_classify(output);
{% elif kind == "normal" %}
                answer[0] = {{ name }}_score(input, output);
{% else %}
                {{ name }}_{{ "predict" if kind == "values" else "classify" }}(output, answer);
{% endif %}
                if (fwrite(answer, sizeof answer, 1, stdout) != 1) {
                    return 1;
                }
                continue;
            }
{% endif %}
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
