{# The tile of a convolution's workgroup, its group of channels, its steps along k (all, or those of one part), and where
   its first loads lie. #}
{% if k_parts | default(1) > 1 %}
  let local = i32(local_index) % {{ members }};
  let team = i32(local_index) / {{ members }};
{% else %}
  let local = i32(local_index);
{% endif %}
  let tile_m = params.first + i32(workgroup_id.x) * {{ bm }};
  let tile_n = i32(workgroup_id.y) * {{ bn }};
{% if partial %}
  let group = i32(workgroup_id.z) / params.splits;
  let part = i32(workgroup_id.z) % params.splits;
  let first_step = params.steps * part / params.splits;
  let last_step = params.steps * (part + 1) / params.splits;
{% elif k_parts | default(1) > 1 %}
  let group = i32(workgroup_id.z);
  let steps = params.steps / {{ k_parts }};
  let first_step = team * steps;
{% else %}
  let group = i32(workgroup_id.z);
  let first_step = 0;
  let last_step = params.steps;
{% endif %}
  let last_m = params.first + params.count - 1;

  // this invocation's share of the loads: column k4 of {{ 'four rows from m on, from' if turned else 'rows m,' }} m + {{ a_step }}, …
  let load_k4 = local % {{ k4s }};
  let load_m = local / {{ k4s }}{{ ' * 4' if turned }};
  let first_channel = group * params.channels;
{% for l in range(a_loads) %}
{% set row = 'tile_m + load_m + ' ~ (l // 4 * a_step + l % 4 if turned else l * a_step) %}
{% if dense %}
  // a row behind the last one reads that one, and is not stored
  var x_at{{ l }} = params.base_x + min({{ row }}, last_m) * params.x_pixel + first_channel / 4 + first_step * {{ k4s }} + load_k4;
{% else %}
  let p{{ l }} = pixel_of({{ row }}, last_m);
{% endif %}
{% endfor %}
{% if dense %}
{% elif x_vec == 4 %}
  var channel = first_step * {{ bk }} + load_k4 * 4;
  let first_tap = channel / params.channels;
  channel = channel - first_tap * params.channels;
  var tap_y = first_tap / params.kernel_x;
  var tap_x = first_tap - tap_y * params.kernel_x;
{% else %}
  var k = first_step * {{ bk }} + load_k4 * 4;
{% endif %}
  var w_at = params.base_w + ((group * params.steps + first_step) * {{ bk }} * params.n_padded + tile_n) / 4;
  let w_row = params.n_padded / 4;
