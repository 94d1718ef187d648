// The sums of a convolution whose k axis was cut: y[m, n] = epilogue(sum over parts of x[m, part, n]).
//
// x is [m, part, group, N up to a multiple of the tile], four channels an item. One invocation for four channels of one pixel.
// The host guarantees: count pixels lie within every binding.
{% extends "bases/elements.wgsl" %}
{% set vec = 4 if vector else 1 %}
{% set S = 'vec4<i32>' if integer else 'vec4<f32>' %}
{% block main %}
  let n4s = params.n_padded / 4;
  let index = linear_index(workgroup_id, num_workgroups, local_index);
  if (index >= params.count * n4s * params.groups) {
    return;
  }
  let row = index / n4s;
  let m = params.first + row / params.groups;
  let group = row % params.groups;
  var sums = {{ S }}();
  for (var part = 0; part < params.splits; part += 1) {
    sums += x[params.base_x + ((m * params.splits + part) * params.groups + group) * n4s + index % n4s];
  }
  store(m, group, index % n4s * 4, sums);
{% endblock %}
{% block store %}
fn store(m: i32, group: i32, n: i32, sums: {{ S }}) {
{% include "parts/epilogue.wgsl" %}
}
{% endblock %}
