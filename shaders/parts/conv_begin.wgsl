{# The tile of a convolution's workgroup, its group of channels, and its steps along k: all, or those of one part. #}
  let local = i32(local_index);
  let tile_m = params.first + i32(id.x) * {{ bm }};
  let tile_n = i32(id.y) * {{ bn }};
{% if splits %}
  let group = i32(id.z) / {{ splits }};
  let part = i32(id.z) % {{ splits }};
  let first_step = params.steps * part / {{ splits }};
  let last_step = params.steps * (part + 1) / {{ splits }};
{% else %}
  let group = i32(id.z);
  let first_step = 0;
  let last_step = params.steps;
{% endif %}
