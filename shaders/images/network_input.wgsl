// y[c, i, j] = sum over k of matrix[c, k] * (sum over s, t of down[i, s] * right[j, t] * x[first_i + s, first_j + t, k]) + offset[c]
//
// One invocation for each pixel (i, j) of y, with its {{ channels }} channel(s); a workgroup has a tile of 16 x 16. x holds the
// bytes of {{ "RGB pixels, three a pixel and four a word" if pixel_bytes == 3 else "RGBA pixels, a word each" }}, in rows one behind the other. An item of lines is the first line of x
// that one of y is made of, and how many they are: those of i, then those of j. Their weights lie in as many runs of
// `row_taps` and then `column_taps` items. y has any strides. The sums are f32{{ ", rounded and held to 0 and 255" if whole }}.
// The host guarantees: lines lie within x; count rows of y, and what they are made of, within every binding.
{% extends "bases/kernel.wgsl" %}
{% set invocations = 256 %}
{% block declarations %}
// Red, green and blue of the pixel that begins with that byte of the binding{{ ", over the backdrop as far as its alpha lets that through" if backdrop }}.
fn pixel(byte: i32) -> vec3<f32> {
{% if pixel_bytes == 4 %}
  let bits = x[byte >> 2u];
  let colour = vec3<u32>(bits & 255u, (bits >> 8u) & 255u, (bits >> 16u) & 255u);
{% if backdrop %}
  let behind = vec3<u32>(u32(params.backdrop & 255), u32((params.backdrop >> 8u) & 255), u32((params.backdrop >> 16u) & 255));
  let alpha = bits >> 24u;
  // whole numbers, rounded to nearest
  return vec3<f32>((colour * alpha + behind * (255u - alpha) + 127u) / 255u);
{% else %}
  return vec3<f32>(colour);
{% endif %}
{% else %}
  let word = byte >> 2u;
  let shift = u32(byte & 3) * 8u;
  var bits = x[word] >> shift;
  if (shift > 8u) {
    bits |= x[word + 1] << (32u - shift);
  }
  return vec3<f32>(f32(bits & 255u), f32((bits >> 8u) & 255u), f32((bits >> 16u) & 255u));
{% endif %}
}

fn number(bits: i32) -> f32 {
  return bitcast<f32>(bits);
}
{% if half %}

// The float16 next to it, ties to even, up to 65504. By its bits: drivers take packing and unpacking again for nothing.
fn rounded_to_half(value: f32) -> f32 {
  if (abs(value) < 6.1035156e-5) {
    return round(value * 16777216.0) / 16777216.0;
  }
  let bits = bitcast<u32>(value);
  return bitcast<f32>((bits + 0xfffu + ((bits >> 13u) & 1u)) & 0xffffe000u);
}
{% endif %}
{% endblock %}
{% block main %}
  let column = i32(workgroup_id.x) * 16 + i32(local_index) % 16;
  let row = params.first + i32(workgroup_id.y) * 16 + i32(local_index) / 16;
  if (column >= params.width || row >= params.first + params.count) {
    return;
  }
  let down = lines[params.base_lines + row];
  let right = lines[params.base_lines + params.height + column];
  let row_weights = params.base_weights + row * params.row_taps;
  let column_weights = params.base_weights + params.height * params.row_taps + column * params.column_taps;
  var total = vec3<f32>();
  // in bytes of the binding
  var begin = params.base_x * 4 + (down.x * params.x_width + right.x) * {{ pixel_bytes }};
  for (var s = 0; s < down.y; s += 1) {
    var line = vec3<f32>();
    for (var t = 0; t < right.y; t += 1) {
      line += weights[column_weights + t] * pixel(begin + {{ pixel_bytes }} * t);
    }
    total += weights[row_weights + s] * line;
    begin += {{ pixel_bytes }} * params.x_width;
  }
  let place = params.base_y + row * params.row_stride + column * params.column_stride;
{% for c in range(channels) %}
  {
    let value = number(params.m{{ c }}0) * total.x + number(params.m{{ c }}1) * total.y + number(params.m{{ c }}2) * total.z + number(params.offset{{ c }});
{% if whole %}
    y[place + {{ c }} * params.channel_stride] = {{ storage }}(clamp(round(value), 0.0, 255.0));
{% elif half %}
    y[place + {{ c }} * params.channel_stride] = rounded_to_half(value);
{% else %}
    y[place + {{ c }} * params.channel_stride] = {{ storage }}(value);
{% endif %}
  }
{% endfor %}
{% endblock %}
