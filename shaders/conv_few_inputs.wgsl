// Convolution of few input channels, such as a network's first layer:
//
//   y[m, n] = epilogue(sum over taps t and channels c of x[pixel(m, t), c] * w[t, c, n])
//
// A workgroup computes {{ tile_height }} x {{ groups * pixels // tile_height }} pixels of {{ lanes * 4 }} output channels, each invocation {{ pixels }} pixels side by side of four of them.
// The pixels under the workgroup's windows go through workgroup memory once, with zeros beyond the edges. Sums are f32.
//
// Layouts: x  [N, C, H, W] by strides; w  [tap y, C, tap x, N up to a multiple of {{ lanes * 4 }}], the rest zero, four n an item; y  by pixel_y
// elements a pixel, channels side by side. Rows of the dispatch are rows of these tiles, all images one behind the other.
//
// The host guarantees: the tiles of count rows, and the pixels under them, lie within every binding.
{% extends "bases/kernel.wgsl" %}
{% set invocations = lanes * groups %}
{% set vec = 4 if vector else 1 %}
{% set S = 'vec4<f32>' %}
{% set columns = groups * pixels // tile_height %}
{% set patch_height = (tile_height - 1) * stride_y + kernel_y %}
{% set patch_width = (columns - 1) * stride_x + kernel_x %}
{% set patch = channels * patch_height * patch_width %}
{% block declarations %}
// x under the tile: [channel][row][column]
var<workgroup> tile_x: array<f32, {{ patch }}>;
{% endblock %}
{% block main %}
  let local = i32(local_index);
  let tile = i32(workgroup_id.y * num_workgroups.x + workgroup_id.x);
  let line_tiles = params.tiles_x * params.blocks_n;
  if (tile >= params.count * line_tiles) {
    return;
  }
  let row = params.first + tile / line_tiles;
  let block = tile % params.blocks_n;
  let tile_x_at = tile % line_tiles / params.blocks_n;
  let image = row / params.tiles_y;
  let first_y = row % params.tiles_y * {{ tile_height }};
  let first_x = tile_x_at * {{ columns }};

  let origin = params.base_x + image * params.x_image;
  for (var item = local; item < {{ patch }}; item += {{ invocations }}) {
    let channel = item / {{ patch_height * patch_width }};
    let at = item % {{ patch_height * patch_width }};
    let input_y = first_y * {{ stride_y }} - params.pad_y + at / {{ patch_width }};
    let input_x = first_x * {{ stride_x }} - params.pad_x + at % {{ patch_width }};
    let inside = input_y >= 0 && input_y < params.height && input_x >= 0 && input_x < params.width;
    let index = select(0, origin + channel * params.x_channel + input_y * params.x_row + input_x * params.x_column, inside);
    tile_x[item] = select(0.0, f32(x[index]), inside);
  }
  workgroupBarrier();

  let lane = local % {{ lanes }};
  let own_y = local / {{ lanes }} / {{ groups // tile_height }};
  let own_x = local / {{ lanes }} % {{ groups // tile_height }} * {{ pixels }};
{% for p in range(pixels) %}
  var sum{{ p }} = {{ S }}();
{% endfor %}
  var w_at = params.base_w + block * {{ lanes }} + lane;
  for (var tap_y = 0; tap_y < {{ kernel_y }}; tap_y += 1) {
    for (var channel = 0; channel < {{ channels }}; channel += 1) {
      let line = channel * {{ patch_height * patch_width }} + (own_y * {{ stride_y }} + tap_y) * {{ patch_width }} + own_x * {{ stride_x }};
{% for column in range((pixels - 1) * stride_x + kernel_x) %}
      let x{{ column }} = tile_x[line + {{ column }}];
{% endfor %}
{% for tap_x in range(kernel_x) %}
      let w{{ tap_x }} = {{ S }}(w[w_at + {{ tap_x }} * params.w_row]);
{% for p in range(pixels) %}
      sum{{ p }} = fma({{ S }}(x{{ p * stride_x + tap_x }}), w{{ tap_x }}, sum{{ p }});
{% endfor %}
{% endfor %}
      w_at += {{ kernel_x }} * params.w_row;
    }
  }

  let y_row = first_y + own_y;
  let y_column = first_x + own_x;
  let line = (image * params.out_height + y_row) * params.out_width + y_column;
  if (y_row < params.out_height) {
{% for p in range(pixels) %}
    if (y_column + {{ p }} < params.out_width) {
      store(line + {{ p }}, (block * {{ lanes }} + lane) * 4, sum{{ p }});
    }
{% endfor %}
  }
{% endblock %}
{% block store %}
fn store(m: i32, n: i32, sums: {{ S }}) {
  let group = 0;
{% include "parts/epilogue.wgsl" %}
}
{% endblock %}
