// Statistics of the rows of x, and what is made of them: a row is what stands at one position of the axes that stay.
//
//   s1 = result1(join over the row of term1(x)), s2 = result2(join of term2(x, s1)), …
//   y[row] = an expression of s1, s2, … and z[row, k] = an expression of these and of what stands at element k of the row
//
// A workgroup takes {{ columns }} row(s), with {{ lanes }} lanes each; each lane joins every {{ lanes }}th element in order, and a tree
// joins the lanes, so that sums of long rows keep their accuracy. Neighbouring invocations read {{ "elements of a row" if inner else "rows" }} side by side.
// Operands have a stride for each axis, 0 where they repeat; sums of floats are formed in f32.
// The host guarantees: count rows of the first axis that stays lie within every binding; what is written overlaps no operand.
{% extends "bases/kernel.wgsl" %}
{% set vec = 1 %}
{% macro element(lines) %}
{% for axis, extent in elements %}
    let {{ "e" ~ axis }} = {{ "k" if loop.first else "k" ~ (axis + 1) }} % {{ extent }};
    let {{ "k" ~ axis }} = {{ "k" if loop.first else "k" ~ (axis + 1) }} / {{ extent }};
{% endfor %}
    let e0 = {{ "k1" if elements else "k" }};
{% for line in lines %}
    {{ line }}
{% endfor %}
{% endmacro %}
{% block declarations %}
{% if lanes > 1 %}
{% for type in statistics | map(attribute="type") | unique %}

var<workgroup> {{ type }}_parts: array<{{ type }}, {{ invocations }}>;
{% endfor %}
{% endif %}
{% endblock %}
{% block main %}
  let local = i32(local_index);
{% if inner %}
  let column = local / {{ lanes }};
  let lane = local % {{ lanes }};
{% else %}
  let column = local % {{ columns }};
  let lane = local / {{ columns }};
{% endif %}
  let row_index = i32(workgroup_id.y * num_workgroups.x + workgroup_id.x) * {{ columns }} + column;
  let live = row_index < params.count * {{ outer_items }};
  // those beyond the last row repeat it, since all must meet at the barriers, and write nothing
  var rest = min(row_index, params.count * {{ outer_items }} - 1);
{% for axis, extent in outer %}
{% include "parts/split_axis.wgsl" %}
{% endfor %}
  let i0 = params.first + rest;
{% for line in row_lines %}
  {{ line }}
{% endfor %}
{% for statistic in statistics %}
  var {{ statistic.name }}_total = {{ statistic.neutral }};
{% if length != '0' %}
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
{% endblock %}
