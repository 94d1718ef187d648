// y[n, c, p] = x[n, c] at the position that grid[n, p] holds, one element of y an invocation.
//
// x is [N, C, *spatial], grid is [N, *out, rank] with the last axis of x first, from -1 to 1 across x; all by strides.
// The host guarantees: count rows lie within every binding. Positions may lie anywhere: sample() clamps its indices.
{% extends "bases/elements.wgsl" %}
{% block declarations %}
{% include "parts/sample.wgsl" %}
{% endblock %}
{% block element %}
{% for point in points %}
{% set extent = extents[loop.index0] %}
{% if align %}
  let p{{ loop.index0 }} = ({{ point }} + 1.0) / 2.0 * f32({{ extent }} - 1);
{% else %}
  let p{{ loop.index0 }} = (({{ point }} + 1.0) * f32({{ extent }}) - 1.0) / 2.0;
{% endif %}
{% endfor %}
  let value = sample({{ origin }}{% for axis in range(extents | length) %}, p{{ axis }}{% endfor %});
  {{ target }} = {{ result }};
{% endblock %}
