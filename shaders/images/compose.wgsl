// y[i] = the colour of y[i] with alpha a = mask[i] times its own alpha{{ ", over one colour of alpha `opacity`" if background }}
//
// One invocation a pixel. y holds RGBA pixels, a byte a channel and a word each, with straight alpha, and becomes the result
// where it lies; with `opaque` 1 their own alpha counts as 255. mask is a plane of f32 in 0 to 1; with `invert` 1 it counts
// as 1 - mask.
{% if background %}
// With r = opacity (1 - a), alpha is a + r, and colours are (c a + b r) / (a + r), b being `red`, `green` and `blue`, in 0 to 255.
{% else %}
// Colours stay as they are, under alpha 0 too; with `zero` 1 pixels of alpha 0 become 0.
{% endif %}
// The host guarantees: count rows of both, of `width` pixels each, lie within their bindings.
{% extends "bases/kernel.wgsl" %}
{% set invocations = 256 %}
{% block indexing %}
{% include "parts/linear.wgsl" %}
{% endblock %}
{% block declarations %}
// A value of 0 to 255 to the nearest whole number, ties to even.
fn byte_of(value: f32) -> u32 {
  return u32(round(clamp(value, 0.0, 255.0)));
}
{% endblock %}
{% block main %}
  let index = linear_index(workgroup_id, num_workgroups, local_index);
  if (index >= params.count * params.width) {
    return;
  }
  let item = params.first * params.width + index;
  let pixel = y[params.base_y + item];
  let m = mask[params.base_mask + item];
  let kept = clamp(select(m, 1.0 - m, params.invert == 1), 0.0, 1.0);
  let own = select(pixel >> 24u, 255u, params.opaque == 1);
  // by the float32 of 1 / 255, as the host has it; 255 times that is 1
  let a = kept * (f32(own) * 0.003921568859368563);
{% if background %}
  let opacity = bitcast<f32>(params.opacity);
  let behind = vec3<f32>(bitcast<f32>(params.red), bitcast<f32>(params.green), bitcast<f32>(params.blue));
  let colour = vec3<f32>(f32(pixel & 255u), f32((pixel >> 8u) & 255u), f32((pixel >> 16u) & 255u));
  let rest = opacity * (1.0 - a);
  let total = a + rest;
  let over = (colour * a + behind * rest) / total;
  y[params.base_y + item] = byte_of(over.x) | (byte_of(over.y) << 8u) | (byte_of(over.z) << 16u) | (byte_of(total * 255.0) << 24u);
{% else %}
  let alpha = byte_of(a * 255.0);
  let colour = select(pixel & 0xffffffu, 0u, params.zero == 1 && alpha == 0u);
  y[params.base_y + item] = colour | (alpha << 24u);
{% endif %}
{% endblock %}
