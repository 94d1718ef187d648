// y[i] = f(x0[i], x1[i], …): a chain of element-wise operators in one pass, under NumPy broadcasting.
//
// Iteration: {{ inner | length + 1 }} axes (the range cuts the first), in the order in which y lies in memory, {{ vec }} element(s)
// at a time. Every operand has a stride for each axis, 0 where it repeats.
// The host guarantees: count rows lie within every binding; y overlaps no operand.
{% extends "bases/elements.wgsl" %}
{% block main %}
  let index = linear_index(workgroup_id, num_workgroups, local_index);
  if (index >= params.count{{ " * " ~ row_items if row_items }}) {
    return;
  }
{% if inner %}
  var rest = index;
{% for axis, extent in inner %}
{% include "parts/split_axis.wgsl" %}
{% endfor %}
  let i0 = params.first + rest;
{% else %}
  let i0 = params.first + index;
{% endif %}
{% for line in lines %}
  {{ line }}
{% endfor %}
{% endblock %}
