{# The transforms of Winograd convolutions F(2, 3) and F(4, 3), each along one axis: of `size` 4 or 6 inputs, and to `size` - 2
   outputs. F(4, 3) interpolates at 0, ±sqrt(1/2), ±sqrt(2) and infinity, whose rounding errors are a fifth of those at 0, ±1, ±2.
   `d` and `m` are the names of the values, without their numbers; `{0}` in them stands for the number. #}
{% macro input_transform(size, v, d) %}
{% if size == 4 %}
  let {{ v.format(0) }} = {{ d.format(0) }} - {{ d.format(2) }};
  let {{ v.format(1) }} = {{ d.format(1) }} + {{ d.format(2) }};
  let {{ v.format(2) }} = {{ d.format(2) }} - {{ d.format(1) }};
  let {{ v.format(3) }} = {{ d.format(1) }} - {{ d.format(3) }};
{% else %}
  let {{ v.format(0) }} = {{ d.format(0) }} - 2.5 * {{ d.format(2) }} + {{ d.format(4) }};
  let {{ v.format(1) }} = ({{ d.format(4) }} - 2.0 * {{ d.format(2) }}) + (ROOT_HALF * {{ d.format(3) }} - ROOT_TWO * {{ d.format(1) }});
  let {{ v.format(2) }} = ({{ d.format(4) }} - 2.0 * {{ d.format(2) }}) - (ROOT_HALF * {{ d.format(3) }} - ROOT_TWO * {{ d.format(1) }});
  let {{ v.format(3) }} = ({{ d.format(4) }} - 0.5 * {{ d.format(2) }}) + (ROOT_TWO * {{ d.format(3) }} - ROOT_HALF * {{ d.format(1) }});
  let {{ v.format(4) }} = ({{ d.format(4) }} - 0.5 * {{ d.format(2) }}) - (ROOT_TWO * {{ d.format(3) }} - ROOT_HALF * {{ d.format(1) }});
  let {{ v.format(5) }} = {{ d.format(1) }} - 2.5 * {{ d.format(3) }} + {{ d.format(5) }};
{% endif %}
{% endmacro %}
{% macro output_transform(size, y, m) %}
{% if size == 4 %}
  let {{ y.format(0) }} = {{ m.format(0) }} + {{ m.format(1) }} + {{ m.format(2) }};
  let {{ y.format(1) }} = {{ m.format(1) }} - {{ m.format(2) }} - {{ m.format(3) }};
{% else %}
  let {{ y.format(0) }} = {{ m.format(0) }} + ({{ m.format(1) }} + {{ m.format(2) }}) + ({{ m.format(3) }} + {{ m.format(4) }});
  let {{ y.format(1) }} = ROOT_HALF * ({{ m.format(1) }} - {{ m.format(2) }}) + ROOT_TWO * ({{ m.format(3) }} - {{ m.format(4) }});
  let {{ y.format(2) }} = 0.5 * ({{ m.format(1) }} + {{ m.format(2) }}) + 2.0 * ({{ m.format(3) }} + {{ m.format(4) }});
  let {{ y.format(3) }} = 0.5 * ROOT_HALF * ({{ m.format(1) }} - {{ m.format(2) }}) + 2.0 * ROOT_TWO * ({{ m.format(3) }} - {{ m.format(4) }}) + {{ m.format(5) }};
{% endif %}
{% endmacro %}
{% macro roots() %}
const ROOT_HALF = 0.70710678118654752;
const ROOT_TWO = 1.41421356237309505;
{% endmacro %}
