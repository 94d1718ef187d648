{# The frame of a kernel that gives a plane its pixels: value(row, column), a function of `declarations`, is what one is.
   `bits` is 32 for a plane of f32, one invocation a pixel; or 8 or 16 for values of 0 to 1 as whole numbers without a gap,
   in rows one behind the other, one invocation a word. Uniforms: `width`, the pixels of a line; `items`, the invocations
   of a row of the dispatch, which is one line, or four lines so that rows of the dispatch begin with a word; `pixels`, how
   many the plane has. #}
{% extends "bases/kernel.wgsl" %}
{% set invocations = 256 %}
{% set per_word = 32 // bits %}
{% block indexing %}
{% include "parts/linear.wgsl" %}
{% endblock %}
{% block main %}
  let index = linear_index(workgroup_id, num_workgroups, local_index);
  if (index >= params.count * params.items) {
    return;
  }
  let item = params.first * params.items + index;
{% if bits == 32 %}
  y[params.base_y + item] = value(item / params.width, item % params.width);
{% else %}
  let begin = item * {{ per_word }};
  var word = 0u;
  for (var k = 0; k < {{ per_word }}; k += 1) {
    let pixel = begin + k;
    if (pixel < params.pixels) {
      // rounded to nearest, ties to even
      let level = round(clamp(value(pixel / params.width, pixel % params.width), 0.0, 1.0) * {{ "255.0" if bits == 8 else "65535.0" }});
      word |= u32(level) << u32(k * {{ bits }});
    }
  }
  if (begin < params.pixels) {
    y[params.base_y + item] = word;
  }
{% endif %}
{% endblock %}
