// Convolution as an implicit matrix product (see conv.wgsl) on matrix units: operands of f16, sums of f32.
//
// Each workgroup computes a tile of {{ bm }} pixels x {{ bn }} channels, each subgroup {{ sm }} x {{ sn }} of it in fragments of {{ matrix.m }} x {{ matrix.n }}, in
// steps of {{ bk }} along k. The loads of a step are under way while the step before it multiplies. Sums leave the fragments
// through workgroup memory, some rows of fragments at a time, since only there can the epilogue know whose they are.
{% if across_k > 1 %}
// {{ across_k }} subgroups have the same sums: each step along k is shared out between them, and what they have is added at the end.
{% endif %}
{% if split %}
//
// Operands are f32, cut into two f16 (parts/split.wgsl), of which three products are added: low · low is below the rounding
// of high · high. `unscale` undoes the scales of x and of each channel of w.
{% if low_apart %}
// Matrix units cut off what a sum has no bits for, each time that they add to it: here, where they do so often, high · low and
// low · high have sums of their own.
{% endif %}
{% endif %}
//
{% if normalized %}
//
// x is normalised by rows, each less its mean over its standard deviation, which are {{ 'made of its moments' if x_moments else 'taken while it is loaded' }}
// (parts/row_statistics.wgsl): (Σ x · w - mean · Σ w) / deviation + shift. `factors` are, for each channel, what undoes the scale
// of w, Σ w, and shift.
{% endif %}
{% if moment_lanes %}
// Moments of what is stored of each row are written beside it (parts/row_moments.wgsl).
{% endif %}
{% if weights_in_workgroup %}
// w: [{{ 'high or low part, ' if split }}group, K up to a multiple of {{ bk }}, N up to a multiple of {{ bn }}], the rest zero.
{% else %}
// w: [{{ 'high or low part, ' if split }}group, N up to a multiple of {{ bn }} / {{ matrix.n }}, K up to a multiple of {{ bk }} / {{ matrix.k }}] fragments of {{ matrix.k }} x {{ matrix.n }}, the rest zero,
// which are loaded straight from memory.
{% endif %}
// The host guarantees: count pixels lie within every binding; subgroups have {{ matrix.lanes }} invocations, side by side in the
// workgroup; channels come in fours{{ ', and steps end with the channels' if dense }}; a subgroup's share is whole fragments.
{% extends "bases/kernel.wgsl" %}
{% import "parts/matrix_units.wgsl" as units with context %}
{% set lanes = matrix.lanes %}
{% set subgroups = (bm // sm) * (bn // sn) * across_k %}
{% set invocations = subgroups * lanes %}
{# workgroup memory, in items of eight f16 or four f32. A row of an operand has an eight more than it takes, and a row of sums
   two fours, so that neighbours begin in different banks. #}
{% set eights = bk // 8 %}
{% set a_row = eights + 1 %}
{% set b_row = bn // 8 + 1 %}
{% set parts = ['high', 'low'] if split else ['high'] %}
{% set kinds = ['c', 'd'] if low_apart else ['c'] %}
{% set products = [('high', 'high', 'c')] + ([('high', 'low', kinds[-1]), ('low', 'high', kinds[-1])] if split else []) %}
{% set a_low = bm * a_row %}
{% set b_low = bk * b_row %}
{% set b_at = a_low * (parts | length) %}
{% set operands_size = b_at + (b_low * (parts | length) if weights_in_workgroup else 0) %}
{% set rows = sm // matrix.m %}
{% set columns = sn // matrix.n %}
{% set fours = sn // 4 %}
{# whether an invocation has the same channels of all rows that it stores #}
{% set same_channels = across_k * lanes % fours == 0 %}
{% set sums_row = fours + 2 %}
{% set plane = subgroups * matrix.m * sums_row %}
{% set row_size = plane * (kinds | length) %}
{# rows of fragments that leave at a time #}
{% set together = [[operands_size // row_size, 1] | max, rows] | min %}
{# behind them, moments of parts of rows #}
{% set parts_begin = together * row_size %}
{% set moment_parts = bn // (4 * moment_lanes) if moment_lanes else 0 %}
{% set a_loads = bm * eights // invocations %}
{% set a_step = invocations // eights %}
{% set b_loads = bk * bn // 8 // invocations if weights_in_workgroup else 0 %}
{# elements of x of an item of workgroup memory come in one load, or in two of four #}
{% set halves = [''] if x_vec == 8 else ['_0', '_1'] %}
{% set Item = 'vec4<f32>' if split else 'vec4<u32>' if x_vec == 8 else 'vec2<u32>' %}
{# a tap of its own for each half, where an eight may begin in one tap and end in the next #}
{% set taps = [] if dense else [''] if even else ['_0', '_1'] %}
{% set fragment = matrix.k * matrix.n // 8 %}
{% set S = 'vec4<f32>' %}
{% set integer = false %}
{% set partial = false %}
{% set vec = 4 if vector else 1 %}
{% import "parts/row_moments.wgsl" as row_moments with context %}
{% import "parts/row_statistics.wgsl" as row_statistics with context %}
{% block declarations %}

// first x, [{{ 'high or low part, ' if split }}m][eights of k]{{ ', and behind it w, [k][eights of n]' if weights_in_workgroup }}; then sums, [row of fragments]{{ '[high or low products]' if low_apart }}[subgroup][m][fours of n]
var<workgroup> memory: array<vec4<u32>, {{ [operands_size, row_size, parts_begin + bm * moment_parts if moment_lanes else 0] | max }}>;

{{ units.functions(operands=['memory'] + ([] if weights_in_workgroup else ['w']), sums=['memory'], words=['memory', 'w']) }}
{% if split %}
{% include "parts/split.wgsl" %}
{% endif %}
{% if not dense %}
{% include "parts/conv_loader.wgsl" %}
{% endif %}
{% if normalized %}
{{ row_statistics.declarations() }}
{% endif %}
{% if x_moments or moment_lanes %}
{{ row_moments.declarations() }}
{% endif %}

fn words(four: vec4<f16>) -> vec2<u32> {
  return {{ units.words('four') }};
}
{% endblock %}
{% block grid %}
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
{% endblock %}

{# the loads of a step, into registers #}
{% macro load_step() %}
{% for l in range(a_loads) %}
{% for half in halves %}
{% if dense %}
{% set from = 'x[x_at%d%s]' % (l, ' + 1' if half == '_1' else '') %}
{% else %}
{% set tap = '' if even else half %}
{% set from = 'load_x(p%d, tap_y%s, tap_x%s, first_channel + channel%s%s)' % (l, tap, tap, tap, ' + 4' if even and half == '_1' else '') %}
{% endif %}
    next{{ l }}{{ half }} = {{ from if split or x_vec == 8 else 'words(vec4<f16>(%s))' % from }};
{% endfor %}
{% endfor %}
{% for part in parts %}
{% for l in range(b_loads) %}
    next_{{ part }}{{ l }} = w[w_at + (local + {{ l * invocations }}) / {{ bn // 8 }} * w_row + (local + {{ l * invocations }}) % {{ bn // 8 }}{{ ' + params.w_low' if part == 'low' }}];
{% endfor %}
{% endfor %}
{% endmacro %}
{# channels that an item of sums begins with, and what its sums are multiplied by #}
{% macro channels_of(item) %}
  let n = tile_n + own_n + {{ item }} % {{ fours }} * 4;
{% if normalized %}
{{ row_statistics.factors() }}
{% elif split %}
  let factor = unscale[params.base_unscale + (group * params.n_padded + n) / 4];
{% endif %}
{% endmacro %}
{% block main %}
  let local = i32(local_index);
  let tile_m = params.first + i32(workgroup_id.x) * {{ bm }};
  let tile_n = i32(workgroup_id.y) * {{ bn }};
  let group = i32(workgroup_id.z);
  let last_m = params.first + params.count - 1;

  // this invocation's share of the loads: eight load_item of rows load_m, load_m + {{ a_step }}, …
  let load_item = local % {{ eights }};
  let load_m = local / {{ eights }};
  let first_channel = group * params.channels;
{% for l in range(a_loads) %}
{% if dense %}
  // a row behind the last one reads that one, and is not stored
  var x_at{{ l }} = params.base_x + min(tile_m + load_m + {{ l * a_step }}, last_m) * params.x_pixel + first_channel / {{ x_vec }} + load_item * {{ 8 // x_vec }};
{% else %}
  let p{{ l }} = pixel_of(tile_m + load_m + {{ l * a_step }}, last_m);
{% endif %}
{% for half in halves %}
  var next{{ l }}{{ half }}: {{ Item }};
{% endfor %}
{% endfor %}
{% for tap in taps %}
  var channel{{ tap }} = load_item * 8{{ ' + 4' if tap == '_1' }};
  let first_tap{{ tap }} = channel{{ tap }} / params.channels;
  channel{{ tap }} -= first_tap{{ tap }} * params.channels;
  var tap_y{{ tap }} = first_tap{{ tap }} / params.kernel_x;
  var tap_x{{ tap }} = first_tap{{ tap }} - tap_y{{ tap }} * params.kernel_x;
{% endfor %}
{% for part in parts %}
{% for l in range(b_loads) %}
  var next_{{ part }}{{ l }}: vec4<u32>;
{% endfor %}
{% endfor %}
{% if weights_in_workgroup %}
  let w_row = params.n_padded / 8;
  var w_at = params.base_w + group * params.steps * {{ bk }} * w_row + tile_n / 8;
{% endif %}

  // this subgroup's share of the tile
  let subgroup = local / {{ lanes }};
  let own_part = subgroup % {{ across_k }};
  let own_m = subgroup / {{ across_k * (bn // sn) }} * {{ sm }};
  let own_n = subgroup / {{ across_k }} % {{ bn // sn }} * {{ sn }};
  let own_left = own_m * {{ a_row }} + own_part * {{ eights // across_k }};
{% if weights_in_workgroup %}
  let own_right = {{ b_at }} + own_part * {{ bk // across_k * b_row }} + own_n / 8;
{% else %}
  let k_fragments = params.steps * {{ bk // matrix.k }};
  let own_right = params.base_w + (group * params.n_padded + tile_n + own_n) / {{ matrix.n }} * k_fragments * {{ fragment }} + own_part * {{ bk // across_k // matrix.k * fragment }};
{% endif %}
{% for i in range(rows) %}
{% for j in range(columns) %}
{% for kind in kinds %}
  var {{ kind }}{{ i }}_{{ j }}: {{ units.sums_type() }};
{% endfor %}
{% endfor %}
{% endfor %}
{{ load_step() }}
{% if normalized %}
{{ row_statistics.begin() }}
{% endif %}

  for (var step = 0; step < params.steps; step += 1) {
    workgroupBarrier();
{% for l in range(a_loads) %}
    {
      let at = (load_m + {{ l * a_step }}) * {{ a_row }} + load_item;
{% if normalized %}
{{ row_statistics.add(l) }}
{% endif %}
{% if split %}
{% for half in halves %}
      let held{{ half }} = held_by_halves(next{{ l }}{{ half }});
      let high{{ half }} = high_part(held{{ half }});
{% endfor %}
      memory[at] = vec4<u32>(words(vec4<f16>(high_0)), words(vec4<f16>(high_1)));
      memory[at + {{ a_low }}] = vec4<u32>(words(vec4<f16>(held_0 - high_0)), words(vec4<f16>(held_1 - high_1)));
{% elif x_vec == 8 %}
      memory[at] = next{{ l }};
{% else %}
      memory[at] = vec4<u32>(next{{ l }}_0, next{{ l }}_1);
{% endif %}
    }
{% endfor %}
{% for part in parts %}
{% for l in range(b_loads) %}
    memory[{{ b_at + (b_low if part == 'low' else 0) }} + (local + {{ l * invocations }}) / {{ bn // 8 }} * {{ b_row }} + (local + {{ l * invocations }}) % {{ bn // 8 }}] = next_{{ part }}{{ l }};
{% endfor %}
{% endfor %}
    workgroupBarrier();
    // behind the last step the same is loaded again
    let more = step + 1 < params.steps;
{% if dense %}
{% for l in range(a_loads) %}
    x_at{{ l }} += select(0, {{ bk // x_vec }}, more);
{% endfor %}
{% endif %}
{% for tap in taps %}
    channel{{ tap }} += select(0, {{ bk }}, more);
    while (channel{{ tap }} >= params.channels) {
      channel{{ tap }} -= params.channels;
      tap_x{{ tap }} += 1;
      if (tap_x{{ tap }} == params.kernel_x) {
        tap_x{{ tap }} = 0;
        tap_y{{ tap }} += 1;
      }
    }
{% endfor %}
{% if weights_in_workgroup %}
    w_at += select(0, {{ bk }} * w_row, more);
{% else %}
    let right_at = own_right + step * {{ bk // matrix.k * fragment }};
{% endif %}
{{ load_step() }}
{% for kk in range(bk // across_k // matrix.k) %}
    {
{% for j in range(columns) %}
{% for part in parts %}
{% if weights_in_workgroup %}
      let right_{{ part }}{{ j }} = {{ units.load_right('memory', 'own_right + %d' % (kk * matrix.k * b_row + j * matrix.n // 8 + (b_low if part == 'low' else 0)), b_row, words=true) }};
{% else %}
      let right_{{ part }}{{ j }} = {{ units.load_right('w', 'right_at + %d * k_fragments + %d%s' % (j * fragment, kk * fragment, ' + params.w_low' if part == 'low' else ''), matrix.n // 8, words=true) }};
{% endif %}
{% endfor %}
{% endfor %}
{% for i in range(rows) %}
{% for part in parts %}
      let left_{{ part }}{{ i }} = {{ units.load_left('memory', 'own_left + %d' % (i * matrix.m * a_row + kk * matrix.k // 8 + (a_low if part == 'low' else 0)), a_row, words=true) }};
{% endfor %}
{% for left, right, kind in products %}
{% for j in range(columns) %}
      {{ kind }}{{ i }}_{{ j }} = {{ units.multiply_accumulate('left_%s%d' % (left, i), 'right_%s%d' % (right, j), '%s%d_%d' % (kind, i, j)) }};
{% endfor %}
{% endfor %}
{% endfor %}
    }
{% endfor %}
  }
{% if normalized %}
{{ row_statistics.end() }}
{% endif %}

  // rows of fragments, {{ together }} at a time; the subgroups that have the same sums share them out by fours
  let own_sums = subgroup / {{ across_k }} * {{ across_k * matrix.m * sums_row }};
  let share = local % {{ across_k * lanes }};
{% if same_channels %}
{{ channels_of('share') }}
{% endif %}
{% for first in range(0, rows, together) %}
{% set count = [together, rows - first] | min %}
  workgroupBarrier();
{% for i in range(count) %}
{% for j in range(columns) %}
{% for kind in kinds %}
  {{ units.store('memory', 'subgroup * %d + %d' % (matrix.m * sums_row, i * row_size + loop.index0 * plane + j * matrix.n // 4), '%s%d_%d' % (kind, first + i, j), sums_row, words=true) }};
{% endfor %}
{% endfor %}
{% endfor %}
  workgroupBarrier();
  for (var turn = 0; turn < {{ count * matrix.m * fours }}; turn += {{ across_k * lanes }}) {
    let item = turn + share;
    let row = item / {{ fours }};
    let m = tile_m + own_m + {{ first * matrix.m }} + row;
{% if not same_channels %}
{{ channels_of('item') }}
{% endif %}
{% if moment_lanes %}
    var kept = vec4<f32>();
{% endif %}
    if (m <= last_m{{ ' && item < %d' % (count * matrix.m * fours) if count * matrix.m * fours % (across_k * lanes) }}) {
      let at = own_sums + row / {{ matrix.m }} * {{ row_size }} + row % {{ matrix.m }} * {{ sums_row }} + item % {{ fours }};
      var four = bitcast<vec4<f32>>(memory[at]);
{% for other in range(1, across_k * (kinds | length)) %}
      four += bitcast<vec4<f32>>(memory[at + {{ other % across_k * matrix.m * sums_row + other // across_k * plane }}]);
{% endfor %}
{% if normalized %}
{{ row_statistics.apply('own_m + %d + row' % (first * matrix.m)) }}
{% elif split %}
      four *= factor;
{% endif %}
      {{ 'kept = vec4<f32>(store(m, group, n, four))' if moment_lanes else 'store(m, group, n, four)' }};
    }
{% if moment_lanes %}
{{ row_moments.add('kept', 'own_m + %d + row' % (first * matrix.m), 'n - tile_n') }}
{% endif %}
  }
{% endfor %}
{% if moment_lanes %}
{{ row_moments.store() }}
{% endif %}
{% endblock %}
{% block store %}
{% include "parts/conv_store.wgsl" %}
{% endblock %}
