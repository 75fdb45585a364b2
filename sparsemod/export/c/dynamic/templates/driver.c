#include <stdio.h>
#include <stdlib.h>
#include <string.h>

{% for name in projects %}
#include "{{ name }}.h"
{% endfor %}

int main(int count, char **values)
{
    const int network = count == 4 ? atoi(values[1]) : -1;
    const int raw = count == 4 && strcmp(values[2], "raw") == 0;
    const int answers = count == 4 && strcmp(values[3], "answers") == 0;
    (void)answers;
    switch (network) {
{% for name, model in projects.items() %}
    case {{ loop.index0 }}: {
        static float output[{{ name | upper }}_OUTPUT_SIZE];
        static float input[{{ name | upper }}_INPUT_SIZE];
{% if model.kind in answer_types %}
        static {{ answer_types[model.kind] % (name | upper) }};
{% endif %}
{% if model.lengths %}
        static int32_t length;
{% endif %}
        for (;;) {
{% if model.lengths %}
            if (fread(&length, sizeof length, 1, stdin) != 1) {
                return 0;
            }
{% endif %}
            if (fread(input, sizeof input, 1, stdin) != 1) {
                return 0;
            }
            if (raw) {
                {{ name }}_normalize(input, input);
            }
            memcpy({{ name }}_input(), input, sizeof input);
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
    }
{% endfor %}
    default:
        return 2;
    }
}
