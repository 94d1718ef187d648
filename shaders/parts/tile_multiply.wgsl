{# The products of one step along k, added to an invocation's sums; `at_a` and `at_b` say where the step's tiles begin. #}
{% for k4 in range(k4s) %}
      {
{% if not turned %}
{% for i in range(tm) %}
        let a{{ i }} = tile_a[{{ at_a }}{{ k4 * bm }} + ((own_m + {{ i * rows }}) ^ {{ k4 * mix }})];
{% endfor %}
{% endif %}
{% for kk in range(4) %}
{% if turned %}
{% for i in range(tm // 4) %}
        let a{{ kk }}_{{ i }} = tile_a[{{ at_a }}{{ (k4 * 4 + kk) * bm // 4 }} + ((own_m + {{ i * rows }}) ^ {{ k4 * mix }})];
{% endfor %}
{% endif %}
{% for j in range(tn4) %}
        let b{{ kk }}_{{ j }} = tile_b[{{ at_b }}{{ (k4 * 4 + kk) * n4s + j * columns }} + own_n4];
{% endfor %}
{% for i in range(tm) %}
{% set a = 'a' ~ kk ~ '_' ~ i // 4 ~ '.' ~ 'xyzw'[i % 4] if turned else 'a' ~ i ~ '.' ~ 'xyzw'[kk] %}
{% for j in range(tn4) %}
{% if kind == 'f32' %}
        c{{ i }}_{{ j }} = fma(vec4<f32>({{ a }}), b{{ kk }}_{{ j }}, c{{ i }}_{{ j }});
{% else %}
        c{{ i }}_{{ j }} += {{ a }} * b{{ kk }}_{{ j }};
{% endif %}
{% endfor %}
{% endfor %}
{% endfor %}
      }
{% endfor %}
