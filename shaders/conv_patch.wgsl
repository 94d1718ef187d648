// Convolution on matrix units, by patches: y[m, n] = Σ over taps and channels of x[m at tap, channel] · w[tap, channel, n].
//
// Each workgroup computes a tile of {{ height }} x {{ width }} pixels and {{ outputs }} channels. For every block of {{ block }} input channels the tile's pixels
// with their halo, {{ patch_height }} x {{ patch_width }}, go into workgroup memory once; the left fragments of all taps are views of that patch, which
// begin at other places of it and step by the stride. The right fragments come {{ 'by way of workgroup memory, too' if weights_in_workgroup else 'straight from memory' }}.
{% if split %}
// Operands are f32, cut into two f16: the high part has the first 11 bits of the number, the low part is what is left. Three
// products, high · high, high · low and low · high, go into the same f32 sums; low · low is below their rounding. Numbers are
// scaled by powers of two, so that low parts stay normal f16, and sums scaled back by `unscale`, one factor a channel. An
// element of x beyond what the high part holds becomes NaN, which reaches every output that it has a part in.
{% endif %}
//
// x: channels side by side. w: [{{ 'high or low part, ' if split }}group, tap, channel / {{ matrix.k }}, n / {{ matrix.n }}] fragments of {{ matrix.k }} x {{ matrix.n }}. Rows of a dispatch are
// lines of tiles, {{ height }} pixels high, image after image.
// The host guarantees: count lines lie within every binding; subgroups have {{ matrix.lanes }} invocations, side by side in the
// workgroup; channels of x come in items; w is padded to whole blocks and tiles with zeros{{ ', and so is unscale' if split }}.
{% extends "bases/kernel.wgsl" %}
{% import "parts/matrix_units.wgsl" as units with context %}
{% set lanes = matrix.lanes %}
{% set invocations = across_pixels * across_outputs * across_channels * lanes %}
{# fragments: across the tile's width, of a subgroup along pixels and along channels, and of a block #}
{% set fragments_a_line = width // matrix.m %}
{% set rows = height * fragments_a_line // across_pixels %}
{% set columns = outputs // matrix.n // across_outputs %}
{% set steps = block // matrix.k // across_channels %}
{% set fragment = matrix.k * matrix.n %}
{# elements of a pixel of the patch: eight more than it has channels, so that pixels begin in different banks #}
{% set pixel = block + 8 %}
{% set pixels = patch_height * patch_width %}
{% set items = block // x_vec %}
{% set parts = ['high', 'low'] if split else ['high'] %}
{% set products = [('high', 'high'), ('high', 'low'), ('low', 'high')] if split else [('high', 'high')] %}
{% set Item = 'vec4<f32>' if split else 'vec4<u32>' if x_vec == 8 else 'vec4<f16>' %}
{% set fours = columns * matrix.n // 4 %}
{% set S = 'vec4<f32>' %}
{% set partial = false %}
{% set integer = false %}
{% set vec = 4 if vector else 1 %}
{% block declarations %}

{% for part in parts %}
// x: [row][column][channel]
var<workgroup> patch_{{ part }}: array<f16, {{ pixels * pixel }}>;
{% endfor %}
{% if weights_in_workgroup %}
{% for part in parts %}
// w: [tap][channel / {{ matrix.k }}][n / {{ matrix.n }}] fragments
var<workgroup> weights_{{ part }}: array<f16, {{ taps * block * outputs }}>;
{% endfor %}
{% endif %}
// sums: [subgroup][n / {{ matrix.n }}] fragments
var<workgroup> sums: array<f32, {{ invocations // lanes * columns * matrix.m * matrix.n }}>;

{% set arrays = ['patch_high', 'patch_low'] if split else ['patch_high'] %}
{% set weights = (['weights_high', 'weights_low'] if split else ['weights_high']) if weights_in_workgroup else ['w'] %}
{{ units.functions(operands=arrays + weights, sums=['sums']) }}
fn keep(at: i32, item: {{ Item }}) {
{% if split %}
  let scaled = item * bitcast<f32>(params.scale);
  // from bits that compilers cannot see through: they refuse a constant that is NaN
  let nan = bitcast<f32>(0x7fc00000u | (u32(params.first) & 0u));
  let held = select(scaled, vec4<f32>(nan), abs(scaled) > vec4<f32>(65504.0));
  // by its bits: compilers make nothing of a number less itself as f16 and back
  let high = bitcast<vec4<f32>>(bitcast<vec4<u32>>(held) & vec4<u32>(0xffffe000u));
  let high_part = vec4<f16>(high);
  let low_part = vec4<f16>(held - high);
{% for e in range(4) %}
  patch_high[at + {{ e }}] = high_part.{{ 'xyzw'[e] }};
  patch_low[at + {{ e }}] = low_part.{{ 'xyzw'[e] }};
{% endfor %}
{% elif x_vec == 8 %}
{% for e in range(4) %}
  let pair{{ e }} = {{ units.pair('item.' ~ 'xyzw'[e]) }};
  patch_high[at + {{ 2 * e }}] = pair{{ e }}.x;
  patch_high[at + {{ 2 * e + 1 }}] = pair{{ e }}.y;
{% endfor %}
{% else %}
{% for e in range(4) %}
  patch_high[at + {{ e }}] = item.{{ 'xyzw'[e] }};
{% endfor %}
{% endif %}
}
{% endblock %}
{% block grid %}
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
{% endblock %}
{% block main %}
  let local = i32(local_index);
  let tile_n = i32(workgroup_id.x) * {{ outputs }};
  let line = params.first + i32(workgroup_id.y) / params.tiles_a_line;
  let image = line / params.lines;
  let tile_y = (line - image * params.lines) * {{ height }};
  let tile_x = i32(workgroup_id.y) % params.tiles_a_line * {{ width }};
  let group = i32(workgroup_id.z);

  // this invocation's share of the loads: item load_item of pixels load_pixel, load_pixel + {{ invocations // items }}, …
  let load_item = local % {{ items }};
  let load_pixel = local / {{ items }};
  let origin_y = tile_y * {{ stride_y }} - params.pad_y;
  let origin_x = tile_x * {{ stride_x }} - params.pad_x;
  let x_at = params.base_x + image * params.x_image + group * params.channels / {{ x_vec }} + load_item;

  // this subgroup's share of the tile
  let subgroup = local / {{ lanes }};
{% if across_channels > 1 %}
  let own_part = subgroup % {{ across_channels }};
{% endif %}
  let own_n = subgroup / {{ across_channels }} % {{ across_outputs }} * {{ columns }};
  let own_m = subgroup / {{ across_channels * across_outputs }} * {{ rows }};
{% for i in range(rows) %}
  let line{{ i }} = (own_m + {{ i }}) / {{ fragments_a_line }};
  let column{{ i }} = (own_m + {{ i }}) % {{ fragments_a_line }} * {{ matrix.m }};
  let at{{ i }} = (line{{ i }} * {{ stride_y * patch_width }} + column{{ i }} * {{ stride_x }}) * {{ pixel }}{{ ' + own_part * %d' % (steps * matrix.k) if across_channels > 1 }};
{% for j in range(columns) %}
  var c{{ i }}_{{ j }}: {{ units.sums_type() }};
{% endfor %}
{% endfor %}

  for (var block = 0; block < params.blocks; block += 1) {
    workgroupBarrier();
    let has_item = block * {{ block }} + load_item * {{ x_vec }} < params.channels;
    for (var pixel = load_pixel; pixel < {{ pixels }}; pixel += {{ invocations // items * loads }}) {
{% for l in range(loads) %}
      let pixel{{ l }} = pixel + {{ l * (invocations // items) }};
      let y{{ l }} = origin_y + pixel{{ l }} / {{ patch_width }};
      let x{{ l }} = origin_x + pixel{{ l }} % {{ patch_width }};
      let inside{{ l }} = has_item && pixel{{ l }} < {{ pixels }} && y{{ l }} >= 0 && y{{ l }} < params.height && x{{ l }} >= 0 && x{{ l }} < params.width;
      // no branch: what lies outside reads the binding's first item, and counts as zero
      let from{{ l }} = select(0, x_at + y{{ l }} * params.x_row + x{{ l }} * params.x_column + block * {{ items }}, inside{{ l }});
      let item{{ l }} = select({{ Item }}(), x[from{{ l }}], inside{{ l }});
{% endfor %}
{% for l in range(loads) %}
{% if l %}
      if (pixel{{ l }} < {{ pixels }}) {
        keep(pixel{{ l }} * {{ pixel }} + load_item * {{ x_vec }}, item{{ l }});
      }
{% else %}
      keep(pixel0 * {{ pixel }} + load_item * {{ x_vec }}, item0);
{% endif %}
{% endfor %}
    }
{% if weights_in_workgroup %}
{% for part in parts %}
    for (var item = local; item < {{ taps * block * outputs // 8 }}; item += {{ invocations }}) {
      let tap = item / {{ block * outputs // 8 }};
      let rest = item % {{ block * outputs // 8 }};
      let k = block * {{ block // matrix.k }} + rest / {{ matrix.k * outputs // 8 }};
      let n = tile_n / {{ matrix.n }} * {{ fragment // 8 }} + rest % {{ matrix.k * outputs // 8 }};
      let eight = w[params.base_w + ((group * {{ taps }} + tap) * params.k_fragments + k) * params.n_fragments * {{ fragment // 8 }} + n{{ ' + params.w_low' if part == 'low' }}];
{% for e in range(4) %}
      let pair{{ e }} = {{ units.pair('eight.' ~ 'xyzw'[e]) }};
      weights_{{ part }}[item * 8 + {{ 2 * e }}] = pair{{ e }}.x;
      weights_{{ part }}[item * 8 + {{ 2 * e + 1 }}] = pair{{ e }}.y;
{% endfor %}
    }
{% endfor %}
{% endif %}
    workgroupBarrier();

    for (var tap_y = 0; tap_y < {{ kernel_y }}; tap_y += 1) {
      for (var tap_x = 0; tap_x < {{ kernel_x }}; tap_x += 1) {
        let tap_at = (tap_y * {{ dilation_y * patch_width }} + tap_x * {{ dilation_x }}) * {{ pixel }};
        let tap = tap_y * {{ kernel_x }} + tap_x;
{% for step in range(steps) %}
        {
          let k = {{ 'own_part * %d + ' % steps if across_channels > 1 }}{{ step }};
{% if weights_in_workgroup %}
          let w_at = ((tap * {{ block // matrix.k }} + k) * {{ outputs // matrix.n }} + own_n) * {{ fragment }};
{% else %}
          let w_at = params.base_w + (((group * {{ taps }} + tap) * params.k_fragments + block * {{ block // matrix.k }} + k) * params.n_fragments + tile_n / {{ matrix.n }} + own_n) * {{ fragment }};
{% endif %}
{% for j in range(columns) %}
{% for part in parts %}
{% if weights_in_workgroup %}
          let right_{{ part }}{{ j }} = {{ units.load_right('weights_' ~ part, 'w_at + %d' % (j * fragment), matrix.n) }};
{% else %}
          let right_{{ part }}{{ j }} = {{ units.load_right('w', 'w_at + %d%s' % (j * fragment, ' + params.w_low' if part == 'low' else ''), matrix.n) }};
{% endif %}
{% endfor %}
{% endfor %}
{% for i in range(rows) %}
{% for part in parts %}
          let left_{{ part }}{{ i }} = {{ units.load_left('patch_' ~ part, 'tap_at + at%d + %d' % (i, step * matrix.k), pixel * stride_x) }};
{% endfor %}
{% for left, right in products %}
{% for j in range(columns) %}
          c{{ i }}_{{ j }} = {{ units.multiply_accumulate('left_%s%d' % (left, i), 'right_%s%d' % (right, j), 'c%d_%d' % (i, j)) }};
{% endfor %}
{% endfor %}
{% endfor %}
        }
{% endfor %}
      }
    }
  }

  // a row of fragments at a time; those who share its pixels and channels share it out by fours
  let own_sums = subgroup / {{ across_channels }} * {{ across_channels * columns * matrix.m * matrix.n }};
  let share = local % {{ across_channels * lanes }};
{% for i in range(rows) %}
  workgroupBarrier();
{% for j in range(columns) %}
  {{ units.store('sums', 'subgroup * %d' % (columns * matrix.m * matrix.n) ~ ' + %d' % (j * matrix.m * matrix.n), 'c%d_%d' % (i, j), matrix.n) }};
{% endfor %}
  workgroupBarrier();
  for (var item = share; item < {{ matrix.m * fours }}; item += {{ across_channels * lanes }}) {
    let at = own_sums + item % {{ fours }} / {{ matrix.n // 4 }} * {{ matrix.m * matrix.n }} + item / {{ fours }} * {{ matrix.n }} + item % {{ matrix.n // 4 }} * 4;
    let y_row = tile_y + line{{ i }};
    let y_column = tile_x + column{{ i }} + item / {{ fours }};
    if (y_row < params.out_height && y_column < params.out_width) {
      var four = vec4<f32>(sums[at], sums[at + 1], sums[at + 2], sums[at + 3]);
{% for part in range(1, across_channels) %}
{% set more = part * columns * matrix.m * matrix.n %}
      four += vec4<f32>(sums[at + {{ more }}], sums[at + {{ more + 1 }}], sums[at + {{ more + 2 }}], sums[at + {{ more + 3 }}]);
{% endfor %}
      let n = tile_n + own_n * {{ matrix.n }} + item % {{ fours }} * 4;
{% if split %}
      four *= unscale[params.base_unscale + (group * params.n_fragments * {{ matrix.n }} + n) / 4];
{% endif %}
      store((image * params.out_height + y_row) * params.out_width + y_column, group, n, four);
    }
  }
{% endfor %}
{% endblock %}
{% block store %}
{% include "parts/conv_store.wgsl" %}
{% endblock %}
