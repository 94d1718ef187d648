// Convolution to few output channels, such as a network's last layer, with stride 1:
//
//   y[m, n] = epilogue(sum over taps t and channels c of x[pixel(m, t), c] * w[n, t, c])
//
// A workgroup computes {{ patches_y * tile_y }} x {{ patches_x * tile_x }} pixels. An invocation has {{ tile_y }} x {{ tile_x }} of them, and of the channels every {{ lanes }}-th four: it loads
// each pixel under them once. The parts of a sum, of {{ lanes }} invocations, are added in workgroup memory. Sums are f32.
//
// Layouts: x  by strides, four channels an item; w  [C / 4, output, tap y, tap x], four channels an item; y  by pixel_y elements a
// pixel. Rows of the dispatch are rows of these tiles, all images one behind the other.
//
// The host guarantees: the tiles of count rows, and the pixels under them, lie within every binding.
{% extends "bases/kernel.wgsl" %}
{% set invocations = lanes * patches_y * patches_x %}
{% set vec = 1 %}
{% set values = outputs * tile_y * tile_x %}
{% set strips = patches_y * patches_x %}
{% block declarations %}
// [lane][(strip, value) ^ lane]: neither writers nor readers meet in a bank
var<workgroup> parts: array<f32, {{ lanes * strips * values }}>;
{% endblock %}
{% block main %}
  let local = i32(local_index);
  let tile = i32(workgroup_id.y * num_workgroups.x + workgroup_id.x);
  if (tile >= params.count * params.tiles_x) {
    return;
  }
  let row = params.first + tile / params.tiles_x;
  let image = row / params.tiles_y;
  let first_y = row % params.tiles_y * {{ patches_y * tile_y }};
  let first_x = tile % params.tiles_x * {{ patches_x * tile_x }};
  let lane = local % {{ lanes }};
  let strip = local / {{ lanes }};
  let input_y = first_y + strip / {{ patches_x }} * {{ tile_y }} - params.pad_y;
  let input_x = first_x + strip % {{ patches_x }} * {{ tile_x }} - params.pad_x;
  let origin = params.base_x + image * params.x_image + input_y * params.x_row + input_x * params.x_column;

{% for n in range(outputs) %}
{% for r in range(tile_y) %}
{% for q in range(tile_x) %}
  var sum{{ n }}_{{ r }}_{{ q }} = 0.0;
{% endfor %}
{% endfor %}
{% endfor %}
{% for j in range(tile_x + kernel_x - 1) %}
  let inside{{ j }} = input_x + {{ j }} >= 0 && input_x + {{ j }} < params.width;
{% endfor %}
  for (var channel = lane; channel < params.channel_items; channel += {{ lanes }}) {
    let w_at = params.base_w + channel * {{ outputs * kernel_y * kernel_x }};
{% for n in range(outputs) %}
{% for t in range(kernel_y) %}
{% for s in range(kernel_x) %}
    let w{{ n }}_{{ t }}_{{ s }} = vec4<f32>(w[w_at + {{ (n * kernel_y + t) * kernel_x + s }}]);
{% endfor %}
{% endfor %}
{% endfor %}
{% for i in range(tile_y + kernel_y - 1) %}
    {
      let within = input_y + {{ i }} >= 0 && input_y + {{ i }} < params.height;
      let at = origin + {{ i }} * params.x_row + channel;
{% for j in range(tile_x + kernel_x - 1) %}
      let x{{ j }} = select(vec4<f32>(), vec4<f32>(x[select(0, at + {{ j }} * params.x_column, within && inside{{ j }})]), within && inside{{ j }});
{% for n in range(outputs) %}
{% for r in range(tile_y) if 0 <= i - r < kernel_y %}
{% for q in range(tile_x) if 0 <= j - q < kernel_x %}
      sum{{ n }}_{{ r }}_{{ q }} += dot(x{{ j }}, w{{ n }}_{{ i - r }}_{{ j - q }});
{% endfor %}
{% endfor %}
{% endfor %}
{% endfor %}
    }
{% endfor %}
  }
{% for n in range(outputs) %}
{% for r in range(tile_y) %}
{% for q in range(tile_x) %}
  parts[lane * {{ strips * values }} + ((strip * {{ values }} + {{ (n * tile_y + r) * tile_x + q }}) ^ lane)] = sum{{ n }}_{{ r }}_{{ q }};
{% endfor %}
{% endfor %}
{% endfor %}
  workgroupBarrier();

  for (var item = local; item < {{ strips * values }}; item += {{ invocations }}) {
    var sum = 0.0;
    for (var other = 0; other < {{ lanes }}; other += 1) {
      sum += parts[other * {{ strips * values }} + (item ^ other)];
    }
    let source = item / {{ values }};
    let value = item % {{ values }};
    let y_row = first_y + source / {{ patches_x }} * {{ tile_y }} + value / {{ tile_x }} % {{ tile_y }};
    let y_column = first_x + source % {{ patches_x }} * {{ tile_x }} + value % {{ tile_x }};
    if (y_row < params.out_height && y_column < params.out_width) {
      store((image * params.out_height + y_row) * params.out_width + y_column, value / {{ tile_y * tile_x }}, vec4<f32>(sum));
    }
  }
{% endblock %}
{% block store %}
// an output channel is a group of its own
fn store(m: i32, group: i32, sums: vec4<f32>) {
  let n = 0;
{% include "parts/epilogue.wgsl" %}
}
{% endblock %}
