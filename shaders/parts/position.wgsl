{# The position i0, i1, … of this invocation, one an element of y; axes of extent 1 have none. The axes of `inner` go round,
   the innermost first; the range cuts `outer`. #}
  let linear = linear_index(workgroup_id, num_workgroups, local_index);
  if (linear >= params.count * {{ row_items }}) {
    return;
  }
  var rest = linear;
{% for axis, extent in inner %}
{% include "parts/split_axis.wgsl" %}
{% endfor %}
{% if outer is not none %}
  let i{{ outer }} = params.first + rest;
{% endif %}
