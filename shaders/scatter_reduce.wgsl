// y[i] = x[i] ∘ u[k] ∘ …: every update whose target is i, in the order of the updates; ∘ is {{ reduction }}.
//
// One invocation for each element of y, which looks through all updates that could meet it, so that sums
// are formed in the same order on every run. Tensors have any strides; float types convert.
// The host guarantees: count rows lie within every binding; y overlaps no operand.
{% extends "bases/elements.wgsl" %}
{% set vec = 1 %}
{% block declarations %}
fn combined(a: {{ dtype }}, b: {{ dtype }}) -> {{ dtype }} {
{% if reduction == "add" %}
  return a + b;
{% elif reduction == "mul" %}
  return a * b;
{% else %}
{% if dtype == "f32" %}
  // NaN spreads, which WGSL's {{ reduction }} leaves open; it is known by its bits alone
  if ((bitcast<u32>(a) & 0x7fffffffu) > 0x7f800000u) {
    return a;
  }
  if ((bitcast<u32>(b) & 0x7fffffffu) > 0x7f800000u) {
    return b;
  }
{% endif %}
  return {{ reduction }}(a, b);
{% endif %}
}
{% endblock %}
{% block element %}
  var value = {{ source }};
{% if within %}
  if ({{ within }}) {
{% else %}
  {
{% endif %}
    for (var k = 0; k < {{ count }}; k += 1) {
      var hit = true;
{% for index in indices %}
      let index{{ loop.index0 }} = {{ index.item }};
      hit = hit && (index{{ loop.index0 }} == {{ index.position }} || index{{ loop.index0 }} + {{ index.extent }} == {{ index.position }});
{% endfor %}
      if (hit) {
        value = combined(value, {{ update }});
      }
    }
  }
  {{ target }} = {{ item }}({{ result }});
{% endblock %}
