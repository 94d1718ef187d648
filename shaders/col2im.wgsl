// y[n, c, p] = sum over taps t of x[n, (c, t), s],   s * stride + t * dilation = p + begin: the adjoint of im2col.
//
// One element of y an invocation, which gathers what every window that covers it holds for it; spatial axes: {{ rank }}.
// x is [N, C * taps, windows], y [N, C, *image], both by strides.
// The host guarantees: count rows lie within every binding.
{% extends "bases/elements.wgsl" %}
{% set vec = 1 %}
{% block element %}
  let origin = {{ origin }};
{% for axis in range(rank) %}
  let p{{ axis }} = {{ positions[axis] }} + {{ begin[axis] }};
{% endfor %}
  var sum = {{ kind }}();
{% include "parts/covering.wgsl" %}
{% set ns = namespace(tap='0', at='0') %}
{% for axis in range(rank) %}
{% set ns.tap = '(' ~ ns.tap ~ ' * ' ~ kernel[axis] ~ ' + t' ~ axis ~ ')' %}
{% set ns.at = '(' ~ ns.at ~ ' * ' ~ windows[axis] ~ ' + s' ~ axis ~ ')' %}
{% endfor %}
    sum += {{ kind }}(x[origin + {{ ns.tap }} * {{ x_strides[1] }} + {{ ns.at }} * {{ x_strides[2] }}]);
{% for axis in range(rank) %}
  }
{% endfor %}
  {{ target }} = {{ item }}({{ result }});
{% endblock %}
