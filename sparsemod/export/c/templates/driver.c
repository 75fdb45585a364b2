#include <stdio.h>
#include <stdlib.h>
#include <string.h>

{% for name in projects %}
#include "{{ name }}.h"
{% endfor %}

int main(int count, char **values)
{
    const int network = count == 4 ? atoi(values[1]) : -1;
    const int real = count == 4 && strcmp(values[2], "float") == 0;
    const int answers = count == 4 && strcmp(values[3], "answers") == 0;
    (void)answers;
    switch (network) {
{% for name, model in projects.items() %}
    case {{ loop.index0 }}: {
{% if model.several %}
{% for each in model.inputs %}
        static float {{ each.argument }}[{{ each.macro }}_SIZE];
{% endfor %}
{% for each in model.outputs %}
        static int8_t {{ each.argument }}[{{ each.macro }}_SIZE];
{% endfor %}
{% if model.lengths %}
        static int32_t length;
{% endif %}
        for (;;) {
{% if model.lengths %}
            if (fread(&length, sizeof length, 1, stdin) != 1) {
                return 0;
            }
{% endif %}
{% for each in model.inputs %}
            if (real) {
                if (fread({{ each.argument }}, sizeof {{ each.argument }}, 1, stdin) != 1) {
                    return 0;
                }
                {{ name }}_quantize({{ each.number }}, {{ each.argument }}, {{ name }}_input({{ each.number }}));
            } else if (fread({{ name }}_input({{ each.number }}), {{ each.macro }}_SIZE, 1, stdin) != 1) {
                return 0;
            }
{% endfor %}
            {{ name }}_run({% for each in model.inputs %}{{ name }}_input({{ each.number }}), {% endfor %}{{ "length, " if model.lengths }}{% for each in model.outputs %}{{ each.argument }}{{ ", " if not loop.last }}{% endfor %});
{% for each in model.outputs %}
            if (fwrite({{ each.argument }}, sizeof {{ each.argument }}, 1, stdout) != 1) {
                return 1;
            }
{% endfor %}
        }
{% else %}
        static float sample[{{ name | upper }}_INPUT_SIZE];
        static int8_t output[{{ name | upper }}_OUTPUT_SIZE];
{% if model.kind == "normal" %}
        static {{ model.input.type }} input[{{ name | upper }}_INPUT_SIZE];
{% endif %}
{% if model.kind in answer_types %}
        static {{ answer_types[model.kind] % (name | upper) }};
{% endif %}
{% if model.lengths %}
        static int32_t length;
{% endif %}
        for (;;) {
{% if model.lengths %}
            if (fread(&length, sizeof length, 1, stdin) != 1) {
                break;
            }
{% endif %}
            if (real) {
                if (fread(sample, sizeof sample, 1, stdin) != 1) {
                    break;
                }
                {{ name }}_quantize(sample, {{ name }}_input());
            } else if (fread({{ name }}_input(), {{ name | upper }}_INPUT_SIZE * sizeof({{ model.input.type }}), 1, stdin) != 1) {
                break;
            }
{% if model.kind == "normal" %}
            memcpy(input, {{ name }}_input(), sizeof input);
{% endif %}
            {{ name }}_run({{ name }}_input(), {{ "length, " if model.lengths }}output);
{% if model.kind in answer_types %}
            if (answers) {
{% if model.kind == "classes" %}
                answer[0] = {{ name }}_classify(output);
{% elif model.kind == "normal" %}
                answer[0] = {{ name }}_score(input, output);
{% else %}
                {{ name }}_{{ "predict" if model.kind == "values" else "classify" }}(output, answer);
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
{% endif %}
    }
{% endfor %}
    default:
        return 2;
    }
    return 0;
}
