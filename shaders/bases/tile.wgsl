{# The frame of a matrix product whose sums stay in registers: a workgroup computes a tile of bm x bn of them, an invocation
   tm x tn, in steps of bk along k. Both operands go through workgroup memory, four values of `kind` an item, in `buffers`
   tiles. With `k_parts`, as many teams of `members` invocations have the same tile, each a part of the k axis and a tile of
   both operands of its own. The kernel has its loads and stores between parts/tile_begin.wgsl and parts/tile_multiply.wgsl.

   A kernel that `turns` may load four rows an invocation, and store them `turned`: four rows of a k an item, so that a
   product reads half the items. That takes a tile of which each invocation loads fours of rows and has fours of rows. #}
{% extends "bases/kernel.wgsl" %}
{% set k_parts = k_parts | default(1) %}
{% set members = (bm // tm) * (bn // tn) %}
{% set invocations = members * k_parts %}
{% set rows = bm // tm %}
{% set columns = bn // tn %}
{% set k4s = bk // 4 %}
{% set n4s = bn // 4 %}
{% set tn4 = tn // 4 %}
{% set a_loads = bm * k4s // members %}
{% set b_loads = bk * n4s // members %}
{% set turned = turns and a_loads % 4 == 0 and tm % 4 == 0 and bm % 32 == 0 %}
{# from one row that an invocation loads, or four, to the next #}
{% set a_step = (4 if turned else 1) * members // k4s %}
{# the low bits of m are mixed with k, so that stores meet no bank twice #}
{% set mix = 8 // k4s %}
{% set S = 'vec4<' ~ kind ~ '>' %}
{% set vec = 4 if vector else 1 %}
{% block declarations %}
{% if turned %}
// the left operand: [k][m / 4 ^ mix k / 4], four values of m an item
{% else %}
// the left operand: [k / 4][m ^ mix k / 4], four values of k an item
{% endif %}
var<workgroup> tile_a: array<{{ S }}, {{ bm * k4s * buffers * k_parts }}>;
// the right operand: [k][n / 4]
var<workgroup> tile_b: array<{{ S }}, {{ bk * n4s * buffers * k_parts }}>;

{% block loads required %}
{% endblock %}
{% endblock %}
