// y[i] = the position of the {{ "largest" if largest else "smallest" }} element of x along an axis of {{ extent }}, the {{ "last" if last else "first" }} of equal ones. NaN wins, as in NumPy.
//
// One invocation for each i. Elements are compared by integer keys, since WGSL may take NaN for granted to be absent.
// x has any strides. The host guarantees: extent > 0; count rows lie within every binding; y overlaps no operand.
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
  var best = 0u;
  var found = 0;
  for (var k = 0; k < {{ extent }}; k += 1) {
    let now = key({{ element }});
    if (k == 0 || now {{ ">" if largest else "<" }}{{ "=" if last else "" }} best) {
      best = now;
      found = k;
    }
  }
  {{ target }} = found;
}
