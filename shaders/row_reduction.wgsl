// Statistics of the rows of x, and what is made of them: a row is what stands at one position of the axes that stay.
//
//   s1 = result1(join over the row of term1(x)), s2 = result2(join of term2(x, s1)), …
//   y[row] = an expression of s1, s2, … and z[row, k] = an expression of these and of what stands at element k of the row
//
// A workgroup takes {{ columns }} row(s), with {{ lanes }} lanes each; each lane joins every {{ lanes }}th element in order, and a tree
// joins the lanes, so that sums of long rows keep their accuracy. Neighbouring invocations read {{ "elements of a row" if inner else "rows" }} side by side.
// Operands have a stride for each axis, 0 where they repeat; sums of floats are formed in f32.
// The host guarantees: count * {{ outer_items }} rows lie within every binding; what is written overlaps no operand.
{% include "parts/params.wgsl" %}
{% with vec = 1 %}
{% include "parts/types.wgsl" %}
{% endwith %}
{% for name in functions %}
{% include "functions/" ~ name ~ ".wgsl" %}
{% endfor %}
{% if lanes > 1 %}
{% for type in statistics | map(attribute="type") | unique %}

var<workgroup> {{ type }}_parts: array<{{ type }}, {{ invocations }}>;
{% endfor %}
{% endif %}
{% macro element(lines) %}
{% for axis in range(extents | length - 1, 0, -1) %}
    let {{ "e" ~ axis }} = {{ "k" if loop.first else "k" ~ (axis + 1) }} % {{ extents[axis] }};
    let {{ "k" ~ axis }} = {{ "k" if loop.first else "k" ~ (axis + 1) }} / {{ extents[axis] }};
{% endfor %}
    let e0 = {{ "k" if extents | length == 1 else "k1" }};
{% for line in lines %}
    {{ line }}
{% endfor %}
{% endmacro %}

@compute @workgroup_size({{ invocations }})
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) local_index: u32,
) {
  let local = i32(local_index);
{% if inner %}
  let column = local / {{ lanes }};
  let lane = local % {{ lanes }};
{% else %}
  let column = local % {{ columns }};
  let lane = local / {{ columns }};
{% endif %}
  let given = i32(group.y * groups.x + group.x) * {{ columns }} + column;
  let live = given < params.count * {{ outer_items }};
  // those beyond the last row repeat it, since all must meet at the barriers, and write nothing
  var rest = min(given, params.count * {{ outer_items }} - 1);
{% for axis in range(outer | length - 1, 0, -1) %}
  let r{{ axis }} = rest % {{ outer[axis] }};
  rest = rest / {{ outer[axis] }};
{% endfor %}
  let r0 = params.first + rest;
{% for line in row_lines %}
  {{ line }}
{% endfor %}
{% for statistic in statistics %}
  var {{ statistic.name }}_total = {{ statistic.neutral }};
{% if length %}
  for (var k = lane; k < {{ length }}; k += {{ lanes }}) {
{{ element(statistic.lines) }}
    {{ statistic.name }}_total = {{ statistic.step }};
  }
{% endif %}
{% if lanes > 1 %}
  {{ statistic.type }}_parts[local] = {{ statistic.name }}_total;
{% for half in halves %}
  workgroupBarrier();
  if (lane < {{ half }}) {
    let total = {{ statistic.type }}_parts[local];
    let other = {{ statistic.type }}_parts[local + {{ half if inner else half * columns }}];
    {{ statistic.type }}_parts[local] = {{ statistic.join }};
  }
{% endfor %}
  workgroupBarrier();
  {{ statistic.name }}_total = {{ statistic.type }}_parts[{{ "column * " ~ lanes if inner else "column" }}];
  // before the next statistic writes there
  workgroupBarrier();
{% endif %}
  let {{ statistic.name }} = {{ statistic.result }};
{% endfor %}
{% if row_writes %}
  if (live && lane == 0) {
{% for line in row_writes %}
    {{ line }}
{% endfor %}
  }
{% endif %}
{% if element_writes %}
  if (live) {
    for (var k = lane; k < {{ length }}; k += {{ lanes }}) {
{{ element(element_writes) }}
    }
  }
{% endif %}
}
