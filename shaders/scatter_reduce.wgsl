// y[i] = x[i] ∘ u[k] ∘ …: every update whose target is i, in the order of the updates; ∘ is {{ reduction }}.
//
// One invocation for each element of y, which looks through all {{ count }} updates that could meet it, so that sums
// are formed in the same order on every run. Tensors have any strides; float types convert.
// The host guarantees: count rows lie within every binding; y overlaps no operand.
{% include "parts/params.wgsl" %}
{% with vec = 1 %}
{% include "parts/types.wgsl" %}
{% endwith %}
{% include "parts/linear.wgsl" %}

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

@compute @workgroup_size({{ invocations }})
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) local: u32,
) {
{% include "parts/position.wgsl" %}
  var value = {{ source }};
{% if within %}
  if ({{ within }}) {
{% else %}
  {
{% endif %}
    for (var k = 0; k < {{ count }}; k += 1) {
      var hit = true;
{% for index in indices %}
      let given{{ loop.index0 }} = {{ index.item }};
      hit = hit && (given{{ loop.index0 }} == {{ index.position }} || given{{ loop.index0 }} + {{ index.extent }} == {{ index.position }});
{% endfor %}
      if (hit) {
        value = combined(value, {{ update }});
      }
    }
  }
  {{ target }} = {{ item }}({{ result }});
}
