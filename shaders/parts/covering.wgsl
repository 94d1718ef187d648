{# Opens one loop an axis over the taps t0, t1, … of the windows that cover position p0, p1, … of the padded image; the
   window is s0, s1, …. Whoever includes it closes the loops. Without dilation the taps are every stride-th. #}
{% for axis in range(rank) %}
{% if dilations[axis] == 1 %}
  for (var t{{ axis }} = p{{ axis }} % {{ strides[axis] }}; t{{ axis }} < {{ kernel[axis] }}; t{{ axis }} += {{ strides[axis] }}) {
    let r{{ axis }} = p{{ axis }} - t{{ axis }};
{% else %}
  for (var t{{ axis }} = 0; t{{ axis }} < {{ kernel[axis] }}; t{{ axis }} += 1) {
    let r{{ axis }} = p{{ axis }} - t{{ axis }} * {{ dilations[axis] }};
{% endif %}
    let s{{ axis }} = r{{ axis }} / {{ strides[axis] }};
    if (r{{ axis }} < 0 || s{{ axis }} >= {{ windows[axis] }}{{ ' || r' ~ axis ~ ' % ' ~ strides[axis] ~ ' != 0' if dilations[axis] != 1 }}) {
      continue;
    }
{% endfor %}
