// Convolution on matrix units, by patches: y[m, n] = Σ over taps and channels of x[m at tap, channel] · w[tap, channel, n].
//
// Each workgroup computes a tile of {{ height }} x {{ width }} pixels and {{ outputs }} channels. For every block of {{ block }} input channels the tile's pixels
// with their halo, {{ patch_height }} x {{ patch_width }}, go into workgroup memory once; the left fragments of all taps are views of that patch, which
// begin at other places of it and step by the stride. The loads of a block are under way while the block before it multiplies.
// The right fragments come {{ 'by way of workgroup memory, too' if weights_in_workgroup else 'straight from memory' }}.
{% if split %}
// Operands are f32, cut into two f16: the high part has the first 11 bits of the number, the low part is what is left. Three
// products, high · high, high · low and low · high, go into the same f32 sums; low · low is below their rounding. Numbers are
// scaled by powers of two, so that low parts stay normal f16, and sums scaled back by `unscale`, one factor a channel. An
// element of x beyond what the high part holds becomes NaN, which reaches every output that it has a part in.
{% endif %}
{% if pooled %}
//
// The largest of each square of 2 x 2 pixels goes to `pooled`, too. A square over an edge has the pixels on the picture.
{% endif %}
//
// x: channels side by side. w: [{{ 'high or low part, ' if split }}group, n / {{ outputs }}, channel / {{ block }}, tap, channel % {{ block }} / {{ matrix.k }}, n % {{ outputs }} / {{ matrix.n }}]
// fragments of {{ matrix.k }} x {{ matrix.n }}, their columns one behind the other. Rows of a dispatch are lines of tiles,
// image after image. The rows of a tile lie a dilation apart, so that their taps share rows of the patch: {{ spread }} tiles are the
// {{ height * spread }} rows of a line.
// The host guarantees: count lines lie within every binding; subgroups have {{ matrix.lanes }} invocations, side by side in the
// workgroup; channels of x come in items; w is padded to whole blocks and tiles with zeros{{ ', and so is unscale' if split }}.
{% extends "bases/kernel.wgsl" %}
{% import "parts/matrix_units.wgsl" as units with context %}
{% set lanes = matrix.lanes %}
{% set subgroups = across_pixels * across_outputs * across_channels %}
{% set invocations = subgroups * lanes %}
{# fragments: across the tile's width, of a subgroup along pixels and along channels, and of a block #}
{% set fragments_a_line = width // matrix.m %}
{% set rows = height * fragments_a_line // across_pixels %}
{% set columns = outputs // matrix.n // across_outputs %}
{% set steps = block // matrix.k // across_channels %}
{# workgroup memory, in items of eight f16 or four f32. A pixel, and a row of a fragment of weights, has one eight more than it
   has channels, and a row of sums two fours, so that neighbours begin in different banks. #}
{% set eights = block // 8 %}
{% set pixel = eights + 1 %}
{% set pixels = patch_height * patch_width %}
{% set fragment = matrix.k * matrix.n // 8 %}
{% set weights = taps * block * outputs // 8 %}
{% set parts = ['high', 'low'] if split else ['high'] %}
{% set products = [('high', 'high'), ('high', 'low'), ('low', 'high')] if split else [('high', 'high')] %}
{% set low = pixels * pixel %}
{% set weights_at = low * (parts | length) %}
{% set weights_row = matrix.k // 8 %}
{% set operands_size = weights_at + (weights // weights_row * (weights_row + 1) * (parts | length) if weights_in_workgroup else 0) %}
{% set fours = columns * matrix.n // 4 %}
{% set sums_row = fours + 2 %}
{% set sharers = across_channels * lanes %}
{% set row_size = subgroups * matrix.m * sums_row %}
{# rows of fragments that leave at a time #}
{% set together = [[operands_size // row_size, 1] | max, rows] | min %}
{% set loads = -(-pixels * eights // invocations) %}
{% set pixel_step = invocations // eights %}
{% set weight_loads = -(-weights // invocations) if weights_in_workgroup else 0 %}
{# elements of x of an item of workgroup memory come in one load, or in two of four #}
{% set halves = [''] if x_vec == 8 else ['_0', '_1'] %}
{% set Item = 'vec4<f32>' if split else 'vec2<u32>' if x_vec == 4 else 'vec4<u32>' %}
{% set right_fragment = fragment // weights_row * (weights_row + 1) if weights_in_workgroup else fragment %}
{% set right_step = outputs // matrix.n * right_fragment %}
{% set right_tap = block // matrix.k * right_step %}
{% set right_low = taps * right_tap %}
{% set S = 'vec4<f32>' %}
{% set partial = false %}
{% set integer = false %}
{% set vec = 4 if vector else 1 %}
{# pixels of a line that an invocation has where the output is pooled, too: an even number #}
{% set pixels_each = [matrix.m * fours // sharers, 2] | max %}
{% block declarations %}

// first the patch, [{{ 'high or low part, ' if split }}row][column][eights of channels]{{ ', and behind it weights' if weights_in_workgroup }}; then sums, [row of fragments][subgroup][pixel][fours]
var<workgroup> memory: array<vec4<u32>, {{ [operands_size, row_size] | max }}>;

{{ units.functions(operands=['memory'] + ([] if weights_in_workgroup else ['w']), sums=['memory'], words=['memory', 'w']) }}
// No branch: what lies outside reads the binding's first item, and counts as zero.
fn item_at(index: i32, inside: bool) -> {{ Item }} {
{% if split or x_vec == 8 %}
  return select({{ Item }}(), x[select(0, index, inside)], inside);
{% else %}
  let four = x[select(0, index, inside)];
  return select(vec2<u32>(), {{ units.words('four') }}, inside);
{% endif %}
}
{% if split %}

{% include "parts/split.wgsl" %}

fn words(four: vec4<f16>) -> vec2<u32> {
  return {{ units.words('four') }};
}
{% endif %}

// The sums of the four channels from n on, from item `at` of the memory on.
fn sums_at(at: i32, group: i32, n: i32) -> vec4<f32> {
  var four = bitcast<vec4<f32>>(memory[at]);
{% for part in range(1, across_channels) %}
  four += bitcast<vec4<f32>>(memory[at + {{ part * matrix.m * sums_row }}]);
{% endfor %}
{% if split %}
  four *= unscale[params.base_unscale + (group * params.n_tiles * {{ outputs }} + n) / 4];
{% endif %}
  return four;
}
{% endblock %}
{% block grid %}
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
{% endblock %}

{# the loads of a block, into registers #}
{% macro load_block(number) %}
{% for l in range(loads) %}
{% for half in halves %}
    next{{ l }}{{ half }} = item_at(from{{ l }} + {{ number }} * {{ block // x_vec }}{{ ' + 1' if half == '_1' }}, from{{ l }} >= 0 && {{ number }} * {{ block }} + load_item * 8{{ ' + 4' if half == '_1' }} < params.channels);
{% endfor %}
{% endfor %}
{% for part in parts %}
{% for l in range(weight_loads) %}
    next_{{ part }}{{ l }} = w[w_block + {{ number }} * {{ weights }}{{ ' + params.w_low' if part == 'low' }} + {{ 'local + %d' % (l * invocations) if (l + 1) * invocations <= weights else 'min(local + %d, %d)' % (l * invocations, weights - 1) }}];
{% endfor %}
{% endfor %}
{% endmacro %}

{# the products of tap `tap`, whose pixels lie `tap_at` items behind those of the first #}
{% macro multiply(tap, tap_at) %}
{% for step in range(steps) %}
    {
{% for j in range(columns) %}
{% for part in parts %}
{% if weights_in_workgroup %}
      let right_{{ part }}{{ j }} = {{ units.load_right('memory', 'own_right + %s * %d + %d' % (tap, right_tap, step * right_step + j * right_fragment + (right_low if part == 'low' else 0)), weights_row + 1, words=true, turned=true) }};
{% else %}
      let right_{{ part }}{{ j }} = {{ units.load_right('w', 'right_at + %s * %d + %d%s' % (tap, right_tap, step * right_step + j * right_fragment, ' + params.w_low' if part == 'low' else ''), weights_row, words=true, turned=true) }};
{% endif %}
{% endfor %}
{% endfor %}
{% for i in range(rows) %}
{% for part in parts %}
      let left_{{ part }}{{ i }} = {{ units.load_left('memory', 'at%d + %s + %d' % (i, tap_at, step * matrix.k // 8 + (low if part == 'low' else 0)), pixel * stride_x, words=true) }};
{% endfor %}
{% for left, right in products %}
{% for j in range(columns) %}
      c{{ i }}_{{ j }} = {{ units.multiply_accumulate('left_%s%d' % (left, i), 'right_%s%d' % (right, j), 'c%d_%d' % (i, j)) }};
{% endfor %}
{% endfor %}
{% endfor %}
    }
{% endfor %}
{% endmacro %}
{% block main %}
  let local = i32(local_index);
  let tile_n = i32(workgroup_id.x) * {{ outputs }};
  let line = params.first + i32(workgroup_id.y) / (params.tiles_a_line * {{ spread }});
  let image = line / params.lines;
  let tile_y = (line - image * params.lines) * {{ height * spread }} + i32(workgroup_id.y) / params.tiles_a_line % {{ spread }};
  let tile_x = i32(workgroup_id.y) % params.tiles_a_line * {{ width }};
  let group = i32(workgroup_id.z);

  // this invocation's share of the loads: eight load_item of pixels load_pixel, load_pixel + {{ pixel_step }}, …
  let load_item = local % {{ eights }};
  let load_pixel = local / {{ eights }};
  let keep_at = load_pixel * {{ pixel }} + load_item;
  let origin_y = tile_y * {{ stride_y }} - params.pad_y;
  let origin_x = tile_x * {{ stride_x }} - params.pad_x;
  let x_at = params.base_x + image * params.x_image + group * params.channels / {{ x_vec }} + load_item * {{ 8 // x_vec }};
{% for l in range(loads) %}
  let pixel{{ l }} = load_pixel + {{ l * pixel_step }};
  let y{{ l }} = origin_y + pixel{{ l }} / {{ patch_width }} * {{ spread }};
  let x{{ l }} = origin_x + pixel{{ l }} % {{ patch_width }};
  let inside{{ l }} = {{ 'pixel%d < %d && ' % (l, pixels) if (l + 1) * pixel_step > pixels }}y{{ l }} >= 0 && y{{ l }} < params.height && x{{ l }} >= 0 && x{{ l }} < params.width;
  let from{{ l }} = select(-1, x_at + y{{ l }} * params.x_row + x{{ l }} * params.x_column, inside{{ l }});
{% for half in halves %}
  var next{{ l }}{{ half }}: {{ Item }};
{% endfor %}
{% endfor %}
{% for part in parts %}
{% for l in range(weight_loads) %}
  var next_{{ part }}{{ l }}: vec4<u32>;
{% endfor %}
{% endfor %}
  let w_block = params.base_w + (group * params.n_tiles + i32(workgroup_id.x)) * params.blocks * {{ weights }};

  // this subgroup's share of the tile
  let subgroup = local / {{ lanes }};
  let own_part = subgroup % {{ across_channels }};
  let own_column = subgroup / {{ across_channels }} % {{ across_outputs }} * {{ columns }};
  let own_m = subgroup / {{ across_channels * across_outputs }} * {{ rows }};
  let own_right = own_part * {{ steps * right_step }} + own_column * {{ right_fragment }}{{ ' + %d' % weights_at if weights_in_workgroup }};
{% for i in range(rows) %}
  let at{{ i }} = (own_m + {{ i }}) / {{ fragments_a_line }} * {{ stride_y * patch_width * pixel }} + (own_m + {{ i }}) % {{ fragments_a_line }} * {{ matrix.m * stride_x * pixel }} + own_part * {{ steps * matrix.k // 8 }};
{% for j in range(columns) %}
  var c{{ i }}_{{ j }}: {{ units.sums_type() }};
{% endfor %}
{% endfor %}
{{ load_block(0) }}

  for (var block = 0; block < params.blocks; block += 1) {
    workgroupBarrier();
{% for l in range(loads) %}
{% if (l + 1) * pixel_step > pixels %}
    if (pixel{{ l }} < {{ pixels }})
{% endif %}
    {
{% set at = 'keep_at + %d' % (l * pixel_step * pixel) %}
{% if split %}
{% for half in halves %}
      let held{{ half }} = held_by_halves(next{{ l }}{{ half }});
      let high{{ half }} = high_part(held{{ half }});
{% endfor %}
      memory[{{ at }}] = vec4<u32>(words(vec4<f16>(high_0)), words(vec4<f16>(high_1)));
      memory[{{ at }} + {{ low }}] = vec4<u32>(words(vec4<f16>(held_0 - high_0)), words(vec4<f16>(held_1 - high_1)));
{% elif x_vec == 4 %}
      memory[{{ at }}] = vec4<u32>(next{{ l }}_0, next{{ l }}_1);
{% else %}
      memory[{{ at }}] = next{{ l }};
{% endif %}
    }
{% endfor %}
{% for part in parts %}
{% for l in range(weight_loads) %}
{% if (l + 1) * invocations > weights %}
    if (local + {{ l * invocations }} < {{ weights }})
{% endif %}
    {
      let item = local + {{ l * invocations }};
      memory[{{ weights_at + (right_low if part == 'low' else 0) }} + item / {{ weights_row }} * {{ weights_row + 1 }} + item % {{ weights_row }}] = next_{{ part }}{{ l }};
    }
{% endfor %}
{% endfor %}
    workgroupBarrier();
    let next_block = min(block + 1, params.blocks - 1);
{{ load_block('next_block') }}
{% if not weights_in_workgroup %}
    let right_at = w_block + block * {{ weights }} + own_right;
{% endif %}
    for (var tap_y = 0; tap_y < {{ kernel_y }}; tap_y += 1) {
      let tap_row = tap_y * {{ dilation_y // spread * patch_width * pixel }};
{% if matrix.spelling == 'emulated' %}
      // a loop, since a compiler of plain WGSL takes seconds for what it unrolls
      for (var tap_x = 0; tap_x < {{ kernel_x }}; tap_x += 1) {
{{ multiply('(tap_y * %d + tap_x)' % kernel_x, 'tap_row + tap_x * %d' % (dilation_x * pixel)) }}
      }
{% else %}
{% for tap_x in range(kernel_x) %}
{{ multiply('(tap_y * %d + %d)' % (kernel_x, tap_x), 'tap_row + %d' % (tap_x * dilation_x * pixel)) }}
{% endfor %}
{% endif %}
    }
  }

  // rows of fragments, {{ together }} at a time; the subgroups that share their pixels and channels share them out by fours:
  // each invocation has the same channels of all its pixels
  let own_sums = subgroup / {{ across_channels }} * {{ across_channels * matrix.m * sums_row }};
  let share = local % {{ sharers }};
  let n = tile_n + own_column * {{ matrix.n }} + share % {{ fours }} * 4;
{% if pooled %}
  // an invocation has the same pixels side by side of each line: the largest of a pair waits for the line below
  let first_pixel = share / {{ fours }} * {{ pixels_each }};
{% for pair in range(pixels_each // 2) %}
  var pair{{ pair }} = F();
{% endfor %}
{% endif %}
{% for first in range(0, rows, together) %}
  workgroupBarrier();
{% for i in range(first, [first + together, rows] | min) %}
{% for j in range(columns) %}
  {{ units.store('memory', 'subgroup * %d + %d' % (matrix.m * sums_row, (i - first) * row_size + j * matrix.n // 4), 'c%d_%d' % (i, j), sums_row, words=true) }};
{% endfor %}
{% endfor %}
  workgroupBarrier();
{% if pooled %}
  if (share < {{ matrix.m // pixels_each * fours }}) {
{% for i in range(first, [first + together, rows] | min) %}
    let y_row{{ i }} = tile_y + own_m + {{ i }};
{% for pair in range(pixels_each // 2) %}
{% for e in range(2) %}
    if (y_row{{ i }} < params.out_height && tile_x + first_pixel + {{ 2 * pair + e }} < params.out_width) {
      let at = own_sums + {{ (i - first) * row_size }} + (first_pixel + {{ 2 * pair + e }}) * {{ sums_row }} + share % {{ fours }};
      let stored = F(store((image * params.out_height + y_row{{ i }}) * params.out_width + tile_x + first_pixel + {{ 2 * pair + e }}, group, n, sums_at(at, group, n)));
      pair{{ pair }} = {{ 'stored' if i % 2 == 0 and e == 0 else 'larger(pair%d, stored)' % pair }};
    }
{% endfor %}
{% if i % 2 %}
    let pooled_column{{ i }}_{{ pair }} = (tile_x + first_pixel) / 2 + {{ pair }};
    if (y_row{{ i }} / 2 < params.pooled_height && pooled_column{{ i }}_{{ pair }} < params.pooled_width && n < params.n) {
      let at = ((image * params.pooled_height + y_row{{ i }} / 2) * params.pooled_width + pooled_column{{ i }}_{{ pair }}) * params.channels_out + group * params.n + n;
      pooled[params.base_pooled + at / 4] = {{ pooled }}(pair{{ pair }});
    }
{% endif %}
{% endfor %}
{% endfor %}
  }
{% else %}
{% set items = ([together, rows - first] | min) * matrix.m * fours %}
{% for turn in range((items + sharers - 1) // sharers) %}
{% if (turn + 1) * sharers > items %}
  if (share < {{ items - turn * sharers }})
{% endif %}
  {
    let place = share / {{ fours }} + {{ turn * sharers // fours }};
    let row = place / {{ matrix.m }};
    let y_row = tile_y + (own_m + {{ first }} + row) / {{ fragments_a_line }} * {{ spread }};
    let y_column = tile_x + (own_m + {{ first }} + row) % {{ fragments_a_line }} * {{ matrix.m }} + place % {{ matrix.m }};
    if (y_row < params.out_height && y_column < params.out_width) {
      let at = own_sums + row * {{ row_size }} + place % {{ matrix.m }} * {{ sums_row }} + share % {{ fours }};
      store((image * params.out_height + y_row) * params.out_width + y_column, group, n, sums_at(at, group, n));
    }
  }
{% endfor %}
{% endif %}
{% endfor %}
{% endblock %}
{% block store %}
{% include "parts/conv_store.wgsl" %}
{% endblock %}
