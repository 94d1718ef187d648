// y[p] = (min, max) over part p of x, with 0: the first stage of a reduction over a whole tensor. NaN is the extreme of its part.
//
// Iteration: {{ inner | length + 1 }} axes in the order in which x lies in memory, {{ vec }} element(s) at a time.
// A part is a number of these items, for one workgroup; the last one is what is left of all. x is strided, y is [parts, {{ vec }}, 2]:
// elements at one place of an item have extremes of their own.
// The host guarantees: count parts lie within every binding; y overlaps no operand.
{% extends "bases/kernel.wgsl" %}
{% set functions = ["is_nan", "larger", "smaller"] %}
{% set S = 'vec4<f32>' if vec == 4 else 'f32' %}
{% block declarations %}
var<workgroup> least: array<{{ S }}, {{ invocations }}>;
var<workgroup> largest: array<{{ S }}, {{ invocations }}>;
{% endblock %}
{% block main %}
  // workgroups past the last part look through it once more: barriers want all invocations
  let p = params.first + min(i32(workgroup_id.y * num_workgroups.x + workgroup_id.x), params.count - 1);
  var low = F(0.0);
  var high = F(0.0);
  let end = min((p + 1) * {{ part }}, {{ total }});
  for (var item = p * {{ part }} + i32(local_index); item < end; item += {{ invocations }}) {
    var rest = item;
{% for axis, extent in inner %}
{% include "parts/split_axis.wgsl" %}
{% endfor %}
    let i0 = rest;
    let value = F({{ element }});
    low = smaller(low, value);
    high = larger(high, value);
  }
{% include "parts/extremes.wgsl" %}
{% include "parts/extremes_store.wgsl" %}
{% endblock %}
