// Batched matrix product.
//
//   y[z, m, n] = chain(sum over k of a[z, m, k] * b[z, k, n])
//
// z counts the batch, over {{ batch }} axes of any strides. a, b and y lie by strides: a {{ 'four k at a time' if a_vec == 4 else 'element by element' }}, b {{ ('as ' ~ codes ~ ' of successive n in words') if codes else 'four n at a time' if b_vec == 4 else 'element by element' }}.
// The chain is element-wise; what it reads has the shape of y by strides, 0 where it repeats.
{% if codes %}
// An element of b is {{ 'one of 16 levels' if levels else 'an integer' }}{{ ' less a zero point' if not levels }}{{ ', times a scale for each ' ~ block ~ ' of k' if scaled }}; rows of words, scales and zero points are padded to whole items.
{% endif %}
// Each workgroup computes a tile of {{ bm }} x {{ bn }}, each invocation {{ tm }} x {{ tn }} of it, in steps of {{ bk }} along k.
//
// Rows of the dispatch are rows of tiles, those of one z after the other; workgroups count the tiles along n first.
// The host guarantees: the tiles of count rows lie within every binding; four elements at a time lie side by side, aligned,
// and k or n is then a multiple of four.
{% extends "bases/tile.wgsl" %}
{% set turns = false %}
{% set less_a_zero = ' - ' ~ kind ~ '(a_zero[params.base_a_zero])' if a_zero else '' %}
{% set per_word = 8 if codes == 'u4' else 4 %}
{% block loads %}
// where this z begins in each operand
var<private> a_origin: i32;
var<private> b_origin: i32;
var<private> y_origin: i32;
{% for axis in range(batch) %}
var<private> z{{ axis }}: i32;
{% endfor %}
{% if a_vec == 4 %}

fn load_a(m: i32, k: i32) -> {{ S }} {
  // no branch: what lies outside reads the binding's first item, and counts as zero
  let inside = m < params.m && k < params.k;
  return select({{ S }}(), {{ S }}(a[select(0, a_origin + m * params.a_m + k / 4, inside)]){{ less_a_zero }}, inside);
}
{% else %}

fn load_a_one(m: i32, k: i32) -> {{ kind }} {
  let inside = m < params.m && k < params.k;
  return select({{ kind }}(), {{ kind }}(a[select(0, a_origin + m * params.a_m + k * params.a_k, inside)]){{ less_a_zero }}, inside);
}

fn load_a(m: i32, k: i32) -> {{ S }} {
  return {{ S }}(load_a_one(m, k), load_a_one(m, k + 1), load_a_one(m, k + 2), load_a_one(m, k + 3));
}
{% endif %}
{% if codes %}
{% if levels %}

const levels = array<f32, 16>({{ levels | join(', ') }});
{% endif %}

fn load_b(k: i32, n: i32) -> {{ S }} {
  let inside = k < params.k && n < params.n;
  let word = b[select(0, b_origin + k * params.b_k + n / {{ per_word }}, inside)];
{% if codes == 'u4' %}
  let codes = (vec4<u32>(word) >> (vec4<u32>(0u, 4u, 8u, 12u) + (u32(n) & 4u) * 4u)) & vec4<u32>(15u);
{% elif codes == 'u8' %}
  let codes = (vec4<u32>(word) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(255u);
{% else %}
  let codes = vec4<i32>(vec4<u32>(word) << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u);
{% endif %}
{% if levels %}
  let value = vec4<f32>(levels[codes.x], levels[codes.y], levels[codes.z], levels[codes.w]);
{% elif not scaled %}
  let value = {{ S }}(codes) - {{ 'b_zero[select(0, params.base_b_zero + n / 4, inside)]' if of_columns else 'params.b_zero' }};
{% elif not zeros %}
  let value = {{ S }}(codes) - {{ middle }};
{% endif %}
{% if scaled %}
  let at = select(0, params.base_scales + k / {{ block }} * params.scales_k + n / 4, inside);
{% if zeros %}
  let value = {{ S }}(codes) - {{ S }}(scales[at + select(0, params.scales_row, inside)]);
{% endif %}
  return select({{ S }}(), value * {{ S }}(scales[at]), inside);
{% else %}
  return select({{ S }}(), value, inside);
{% endif %}
}
{% elif b_vec == 4 %}

fn load_b(k: i32, n: i32) -> {{ S }} {
  let inside = k < params.k && n < params.n;
  return select({{ S }}(), {{ S }}(b[select(0, b_origin + k * params.b_k + n / 4, inside)]), inside);
}
{% else %}

fn load_b_one(k: i32, n: i32) -> {{ kind }} {
  let inside = k < params.k && n < params.n;
  return select({{ kind }}(), {{ kind }}(b[select(0, b_origin + k * params.b_k + n * params.b_n, inside)]), inside);
}

fn load_b(k: i32, n: i32) -> {{ S }} {
  return {{ S }}(load_b_one(k, n), load_b_one(k, n + 1), load_b_one(k, n + 2), load_b_one(k, n + 3));
}
{% endif %}

// Item `item` of the tile, of those that the invocations load between them: neighbours read what lies side by side.
fn store_a(half_at: i32, item: i32, value: {{ S }}) {
  let k4 = item {{ '/ ' ~ bm if a_along_m else '% ' ~ k4s }};
  let m = item {{ '% ' ~ bm if a_along_m else '/ ' ~ k4s }};
  tile_a[half_at + k4 * {{ bm }} + (m ^ (k4 * {{ mix }}))] = value;
}

fn store_b(half_at: i32, item: i32, value: {{ S }}) {
  let k = item {{ '% ' ~ bk if b_along_k else '/ ' ~ n4s }};
  let n4 = item {{ '/ ' ~ bk if b_along_k else '% ' ~ n4s }};
  tile_b[half_at + k * {{ n4s }} + n4] = value;
}
{% endblock %}
{% block main %}
  let local = i32(local_index);
  let tile = i32(workgroup_id.y * num_workgroups.x + workgroup_id.x);
  let tile_row = tile / params.tiles_n;
  if (tile_row >= params.count) {
    return;
  }
  let row = params.first + tile_row;
  let tile_n = (tile - tile_row * params.tiles_n) * {{ bn }};
  let z = row / params.tiles_m;
  let tile_m = (row - z * params.tiles_m) * {{ bm }};
  a_origin = params.base_a;
  b_origin = params.base_b;
  y_origin = params.base_y;
{% if batch %}
  var rest = z;
{% for axis in range(batch - 1, -1, -1) %}
{% if axis %}
  z{{ axis }} = rest % params.z{{ axis }};
  rest = rest / params.z{{ axis }};
{% else %}
  z0 = rest;
{% endif %}
  a_origin += z{{ axis }} * params.a_z{{ axis }};
  b_origin += z{{ axis }} * params.b_z{{ axis }};
  y_origin += z{{ axis }} * params.y_z{{ axis }};
{% endfor %}
{% endif %}

{% include "parts/tile_begin.wgsl" %}
{% set a_k = '/ ' ~ bm if a_along_m else '% ' ~ k4s %}
{% set a_m = '% ' ~ bm if a_along_m else '/ ' ~ k4s %}
{% set b_k = '% ' ~ bk if b_along_k else '/ ' ~ n4s %}
{% set b_n = '/ ' ~ bk if b_along_k else '% ' ~ n4s %}
{# Few loads are unrolled, a step ahead of the products. Many would make a program that some compilers never finish. #}
{% set ahead = a_loads * (4 // a_vec) + b_loads * (1 if codes else 4 // b_vec) <= 8 %}
{% macro fetch(k) %}
{% for l in range(a_loads) %}
    a_next{{ l }} = load_a(tile_m + (local + {{ l * invocations }}) {{ a_m }}, {{ k }} + (local + {{ l * invocations }}) {{ a_k }} * 4);
{% endfor %}
{% for l in range(b_loads) %}
    b_next{{ l }} = load_b({{ k }} + (local + {{ l * invocations }}) {{ b_k }}, tile_n + (local + {{ l * invocations }}) {{ b_n }} * 4);
{% endfor %}
{% endmacro %}
{% if ahead %}
{% with item = S %}
{% include "parts/tile_ahead.wgsl" %}
{% endwith %}
{{ fetch('0') }}
{% endif %}
{% if buffers == 2 %}
  var half = 0;
{% endif %}
  for (var k = 0; k < params.k; k += {{ bk }}) {
{% if buffers == 1 %}
    workgroupBarrier();
{% endif %}
{% set at_a = 'half * ' ~ (bm * k4s) ~ ' + ' if buffers == 2 else '' %}
{% set at_b = 'half * ' ~ (bk * n4s) ~ ' + ' if buffers == 2 else '' %}
{% if ahead %}
{% for l in range(a_loads) %}
    store_a({{ at_a }}0, local + {{ l * invocations }}, a_next{{ l }});
{% endfor %}
{% for l in range(b_loads) %}
    store_b({{ at_b }}0, local + {{ l * invocations }}, b_next{{ l }});
{% endfor %}
    workgroupBarrier();
    // the next step's loads are under way while this one multiplies; behind the last they read nothing
{{ fetch('k + ' ~ bk) }}
{% else %}
    for (var item = local; item < {{ a_loads * invocations }}; item += {{ invocations }}) {
      store_a({{ at_a }}0, item, load_a(tile_m + item {{ a_m }}, k + item {{ a_k }} * 4));
    }
    for (var item = local; item < {{ b_loads * invocations }}; item += {{ invocations }}) {
      store_b({{ at_b }}0, item, load_b(k + item {{ b_k }}, tile_n + item {{ b_n }} * 4));
    }
    workgroupBarrier();
{% endif %}
{% include "parts/tile_multiply.wgsl" %}
{% if buffers == 2 %}
    half = 1 - half;
{% endif %}
  }
{% with inside = 'm < params.m', row = 'm', part = '' %}
{% include "parts/tile_store.wgsl" %}
{% endwith %}
{% endblock %}
{% block store %}
fn store(m: i32, first_n: i32, sums: {{ S }}) {
{% if vector %}
  let n = first_n;
  if (n < params.n) {
    let raw = sums;
{% for line in lines %}
    {{ line }}
{% endfor %}
    y[y_origin + m * params.y_m + n / 4] = {{ result }};
  }
{% else %}
  var four = sums;
  for (var e = 0; e < 4; e += 1) {
    let n = first_n + e;
    if (n < params.n) {
      let raw = four[e];
{% for line in lines %}
      {{ line }}
{% endfor %}
      y[y_origin + m * params.y_m + n * params.y_n] = {{ result }};
    }
  }
{% endif %}
}
{% endblock %}
