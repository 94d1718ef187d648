// y[0] = 1 if any of x is NaN or infinite; y[1] = the largest of x, y[2] = the largest of -x
//
// One invocation looks at 16 elements, 256 apart; a workgroup at 4096 one behind the other. What y holds before counts in:
// the host has it 0, which is less than any value. A value v stands in y as bits that are ordered as values are, and never 0:
// those of v with the sign turned, or all turned where v is negative.
// The host guarantees: `length` elements from the first on lie within the binding of x.
{% extends "bases/kernel.wgsl" %}
{% set invocations = 256 %}
{% block indexing %}
{% include "parts/linear.wgsl" %}
{% endblock %}
{% block declarations %}
var<workgroup> findings: array<vec4<u32>, 256>;

fn ordered(value: f32) -> u32 {
  let bits = bitcast<u32>(value);
  return select(bits | 0x80000000u, ~bits, (bits >> 31u) == 1u);
}
{% endblock %}
{% block main %}
  let group = linear_index(workgroup_id, num_workgroups, 0u) / 256;
  let begin = group * 4096 + i32(local_index);
  var found = 0u;
  var high = 0u;
  var low = 0u;
  for (var k = 0; k < 16; k += 1) {
    let index = begin + k * 256;
    if (index < params.length) {
      let value = f32(x[params.base_x + index]);
      // by its bits: compilers may take comparisons with NaN for false
      if ((bitcast<u32>(value) & 0x7f800000u) == 0x7f800000u) {
        found = 1u;
      } else {
        high = max(high, ordered(value));
        low = max(low, ordered(-value));
      }
    }
  }
  findings[local_index] = vec4<u32>(found, high, low, 0u);
  for (var half = 128u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (local_index < half) {
      findings[local_index] = max(findings[local_index], findings[local_index + half]);
    }
  }
  if (local_index == 0u) {
    let all = findings[0];
    atomicMax(&y[params.base_y], all.x);
    atomicMax(&y[params.base_y + 1], all.y);
    atomicMax(&y[params.base_y + 2], all.z);
  }
{% endblock %}
