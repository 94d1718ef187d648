// y[o] = sum over the taps t of the resampled axes of the product of their weights[o, t] * x[…, indices[o, t], …], or, where a
// position of an axis is marked, a constant.
//
// One invocation for each item of y, of {{ vec }} channel(s). An item of the table holds two taps of a position of one axis:
// both indices, and the bits of both weights; each axis has its run of them. The other positions of x are those of y.
// Tensors have any strides; sums are formed in f32, and what is merely selected keeps its type.
// The host guarantees: indices lie within x, and -1 marks a position; count rows lie within every binding, and their taps
// within that of x; y overlaps no operand.
{% extends "bases/elements.wgsl" %}
{% block element %}
{% for step in steps if step.marked %}
  if (table[params.base_table + {{ step.first }} + {{ step.position }} * {{ step.pairs }}].x < 0) {
    {{ target }} = {{ fill }};
    return;
  }
{% endfor %}
  var total = {{ zero }};
{% for step in steps %}
{% set at = "table[params.base_table + " ~ step.first ~ " + " ~ step.position ~ " * " ~ step.pairs %}
{% if step.looped %}
  for (var t{{ step.axis }} = 0; t{{ step.axis }} < {{ step.pairs }}; t{{ step.axis }} += 1) {
  let pair{{ step.axis }} = {{ at }} + t{{ step.axis }}];
{% else %}
  let pair{{ step.axis }} = {{ at }}];
{% endif %}
{% endfor %}
{% for tap in taps %}
  total = {{ "total + " ~ tap.weight ~ " * " if tap.weight }}{{ tap.element }};
{% endfor %}
{% for step in steps if step.looped %}
  }
{% endfor %}
  {{ target }} = {{ result }};
{% endblock %}
