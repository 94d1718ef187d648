// The {{ k }} {{ "largest" if largest else "smallest" }} elements of x along an axis of {{ extent }} in order, equal ones by position, and where they stood.
//
// One invocation for each element of x: how many others come before it is its place in the result, if that is below k.
// This takes extent² comparisons a line, but no order among invocations. NaN counts as the largest, as in NumPy's sort.
// Tensors have any strides. The host guarantees: count rows lie within every binding; the outputs overlap no operand.
{% include "parts/params.wgsl" %}
{% include "parts/linear.wgsl" %}
{% include "parts/key.wgsl" %}

@compute @workgroup_size({{ invocations }})
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) local: u32,
) {
{% include "parts/position.wgsl" %}
  let value = {{ element }};
  let own = key(value);
  var place = 0;
  for (var k = 0; k < {{ extent }} && place < {{ k }}; k += 1) {
    let other = key({{ other }});
    if (other {{ ">" if largest else "<" }} own || (other == own && k < {{ position }})) {
      place += 1;
    }
  }
  if (place < {{ k }}) {
    {{ target }} = {{ item }}(value);
{% if indices %}
    {{ indices }} = {{ position }};
{% endif %}
  }
}
