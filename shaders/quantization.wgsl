// The scale and zero point by which uint8 covers the range of a tensor and 0:
//
//   scale = (max - min) / 255, or 1 where all is 0 or NaN is among it;  zero = saturate(round(-min / scale))
//
// extremes  [parts, 2]: min <= 0 and max >= 0 of each part of the tensor (extremes.wgsl). One workgroup.{% if joined %}

// The zero point is a float behind the scale.
{% endif %}
{% extends "bases/kernel.wgsl" %}
{% set vec = 1 %}
{% set functions = ["is_nan", "is_inf", "ordered", "larger", "smaller", "divided"] %}
{% block declarations %}
var<workgroup> least: array<f32, {{ invocations }}>;
var<workgroup> largest: array<f32, {{ invocations }}>;
{% endblock %}
{% block grid %}
{% endblock %}
{% block main %}
  var low = 0.0;
  var high = 0.0;
  for (var p = i32(local_index); p < params.parts; p += {{ invocations }}) {
    low = smaller(low, extremes[params.base_extremes + p * 2]);
    high = larger(high, extremes[params.base_extremes + p * 2 + 1]);
  }
{% include "parts/extremes.wgsl" %}
  if (local_index == 0u) {
    let covers = largest[0] > least[0] && ordered(largest[0], least[0]);
    let step = select(1.0, divided(largest[0] - least[0], 255.0), covers);
    scale[params.base_scale] = step;
    // an infinite range, or one too small for a scale, makes NaN
    let units = divided(-least[0], step);
    let point = select(u32(clamp(round(units), 0.0, 255.0)), 0u, is_nan(units));
{% if joined %}
    scale[params.base_scale + 1] = f32(point);
{% else %}
    zero[params.base_zero] = point;
{% endif %}
  }
{% endblock %}
