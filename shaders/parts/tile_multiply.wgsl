{# The products of one step along k, added to an invocation's sums; `at_a` and `at_b` say where the step's tiles begin. #}
{% for k4 in range(k4s) %}
      {
{% for i in range(tm) %}
        let a{{ i }} = tile_a[{{ at_a }}{{ k4 * bm }} + ((own_m + {{ i * rows }}) ^ {{ k4 * mix }})];
{% endfor %}
{% for kk in range(4) %}
{% for j in range(tn4) %}
        let b{{ kk }}_{{ j }} = tile_b[{{ at_b }}{{ (k4 * 4 + kk) * n4s + j * columns }} + own_n4];
{% endfor %}
{% for i in range(tm) %}
{% for j in range(tn4) %}
{% if kind == 'f32' %}
        c{{ i }}_{{ j }} = fma(vec4<f32>(a{{ i }}.{{ 'xyzw'[kk] }}), b{{ kk }}_{{ j }}, c{{ i }}_{{ j }});
{% else %}
        c{{ i }}_{{ j }} += a{{ i }}.{{ 'xyzw'[kk] }} * b{{ kk }}_{{ j }};
{% endif %}
{% endfor %}
{% endfor %}
{% endfor %}
      }
{% endfor %}
