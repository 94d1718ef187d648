{# x at a fractional position: the filter `mode` over axes of `extents`, whose elements lie `steps` apart, from element
   `origin` on. Outside stand zeros, the border, or the reflection at the outermost elements' centres (`align`) or
   edges; it is applied to each tap. Indices are clamped, so that none leaves x whatever the position. Where the host
   `keeps_nan`, x at NaN is NaN. #}
struct Tap {
  index: i32,
  weight: f32,
}

fn filter_weight(distance: f32) -> f32 {
  let t = abs(distance);
{% if mode == 'cubic' %}
  // Keys' cubic convolution
  let near = (({{ cubic_a + 2 }} * t - ({{ cubic_a + 3 }})) * t) * t + 1.0;
  let far = (((t - 5.0) * t + 8.0) * t - 4.0) * ({{ cubic_a }});
  return select(select(0.0, far, t < 2.0), near, t <= 1.0);
{% elif mode == 'linear' %}
  return max(1.0 - t, 0.0);
{% else %}
  return 1.0;
{% endif %}
}

fn tap_at(whole: f32, extent: i32, weight: f32) -> Tap {
  let last = f32(extent - 1);
{% if padding == 'reflection' %}
  let low = {{ '0.0' if align else '-0.5' }};
  let span = {{ 'last' if align else 'f32(extent)' }};
  var distance = abs(whole - low);
  distance = distance - 2.0 * span * floor(distance / max(2.0 * span, 1.0));
  let position = trunc(low + select(distance, 2.0 * span - distance, distance > span));
{% else %}
  let position = whole;
{% endif %}
  let index = clamp(i32(clamp(position, 0.0, last)), 0, extent - 1);
{% if padding == 'zeros' %}
  return Tap(index, select(0.0, weight, position >= 0.0 && position <= last));
{% else %}
  return Tap(index, weight);
{% endif %}
}

fn sample(origin: i32{% for axis in range(extents | length) %}, at{{ axis }}: f32{% endfor %}) -> f32 {
  var sum = 0.0;
{% for extent in extents %}
{% set axis = loop.index0 %}
{% set weight = 'tap' ~ (axis - 1) ~ '.weight' if axis else '1.0' %}
{% set before = 'element' ~ (axis - 1) if axis else 'origin' %}
{% if mode == 'nearest' %}
  let tap{{ axis }} = tap_at(round(at{{ axis }}), {{ extent }}, {{ weight }});
  let element{{ axis }} = {{ before }} + tap{{ axis }}.index * {{ steps[axis] }};
{% else %}
  for (var o{{ axis }} = {{ 1 - support }}; o{{ axis }} <= {{ support }}; o{{ axis }} += 1) {
    let whole{{ axis }} = floor(at{{ axis }}) + f32(o{{ axis }});
    let tap{{ axis }} = tap_at(whole{{ axis }}, {{ extent }}, {{ weight }} * filter_weight(at{{ axis }} - whole{{ axis }}));
    let element{{ axis }} = {{ before }} + tap{{ axis }}.index * {{ steps[axis] }};
{% endif %}
{% endfor %}
{% set innermost = extents | length - 1 %}
    sum += f32(x[element{{ innermost }}]) * tap{{ innermost }}.weight;
{% if mode != 'nearest' %}
{% for extent in extents %}
  }
{% endfor %}
{% endif %}
{% if keeps_nan %}
{% for extent in extents %}
  sum = select(sum, at{{ loop.index0 }}, (bitcast<u32>(at{{ loop.index0 }}) & 0x7fffffffu) > 0x7f800000u);
{% endfor %}
{% endif %}
  return sum;
}
