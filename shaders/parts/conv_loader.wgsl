{# Where row m of a convolution's column matrix lies in x, and its load, by the uniforms of conv.wgsl: four values of k (x_vec 4:
   four channels of one tap; else each by itself) as S, zeros where the window hangs over an edge. A tap that NaN moves is
   outside, too, or where the host `keeps_nan`, NaN. #}
struct Pixel {
  origin: i32,
  row: i32,
  column: i32,
{% if deformable %}
  m: i32,
{% endif %}
}

fn pixel_of(m: i32, last: i32) -> Pixel {
  let clamped = min(m, last);
  let image = clamped / params.plane;
  let at = clamped - image * params.plane;
  let oy = at / params.out_width;
  let ox = at - oy * params.out_width;
  // a row so far outside that no tap comes back from it reads zeros
  let row = select(-2147483647, oy * params.stride_y - params.pad_y, m <= last);
  return Pixel(params.base_x + image * params.x_image, row, ox * params.stride_x - params.pad_x{{ ', clamped' if deformable }});
}
{% if deformable %}

fn corner(p: Pixel, row: i32, column: i32, channel: i32, weight: f32) -> vec4<f32> {
  let inside = row >= 0 && row < params.height && column >= 0 && column < params.width;
  let at = select(0, p.origin + row * params.x_row + column * params.x_column + channel / 4, inside);
  return select(vec4<f32>(), vec4<f32>(x[at]) * weight, inside);
}

fn load_x(p: Pixel, tap_y: i32, tap_x: i32, channel: i32) -> {{ S }} {
  // behind the last tap the weights are zero, and any tap will do
  let tap = min(tap_y, params.kernel_y - 1) * params.kernel_x + tap_x;
  let offset_at = params.base_offset + p.m * params.offset_pixel + 2 * tap * params.offset_channel;
  let at_y = f32(p.row + tap_y * params.dilation_y) + f32(offset[offset_at]);
  let at_x = f32(p.column + tap_x * params.dilation_x) + f32(offset[offset_at + params.offset_channel]);
  let inside = at_y > -1.0 && at_y < f32(params.height) && at_x > -1.0 && at_x < f32(params.width) && tap_y < params.kernel_y;
  let top = floor(select(-2.0, at_y, inside));
  let left = floor(select(-2.0, at_x, inside));
  let down = at_y - top;
  let right = at_x - left;
  let row = i32(top);
  let column = i32(left);
  let weight = {{ 'f32(mask[params.base_mask + p.m * params.mask_pixel + tap * params.mask_channel])' if has_mask else '1.0' }};
  // a loop, since SwiftShader's compiler does not come to an end on so many loads one by one
  var sum = vec4<f32>();
  for (var at = 0; at < 4; at += 1) {
    let step_y = at / 2;
    let step_x = at % 2;
    let part = select(1.0 - down, down, step_y == 1) * select(1.0 - right, right, step_x == 1);
    sum += corner(p, row + step_y, column + step_x, channel, part * weight);
  }
{% if integer and vec == 4 %}
  return quantized(sum) - zero_point;
{% elif integer %}
  return vec4<i32>(quantized(sum.x), quantized(sum.y), quantized(sum.z), quantized(sum.w)) - zero_point;
{% elif keeps_nan %}
  let lost = (vec2<u32>(bitcast<u32>(at_y), bitcast<u32>(at_x)) & vec2<u32>(0x7fffffffu)) > vec2<u32>(0x7f800000u);
  return select(sum, vec4<f32>(at_y + at_x), any(lost));
{% else %}
  return sum;
{% endif %}
}
{% elif x_vec == 4 %}

fn load_x(p: Pixel, tap_y: i32, tap_x: i32, channel: i32) -> {{ S }} {
  let row = p.row + tap_y * params.dilation_y;
  let column = p.column + tap_x * params.dilation_x;
  let inside = row >= 0 && row < params.height && column >= 0 && column < params.width && tap_y < params.kernel_y;
  // no branch: what lies outside reads the binding's first item, and counts as zero
  let at = select(0, p.origin + row * params.x_row + column * params.x_column + channel / 4, inside);
  return select({{ S }}(), {{ S }}({{ 'unsigned_bytes(x[at])' if x_bytes else 'x[at]' }}){{ ' - zero_point' if integer }}, inside);
}
{% else %}

fn load_one(p: Pixel, k: i32, first_channel: i32) -> {{ 'i32' if integer else 'f32' }} {
  let tap = k / params.channels;
  let channel = k - tap * params.channels + first_channel;
  let tap_y = tap / params.kernel_x;
  let row = p.row + tap_y * params.dilation_y;
  let column = p.column + (tap - tap_y * params.kernel_x) * params.dilation_x;
  let inside = row >= 0 && row < params.height && column >= 0 && column < params.width && tap_y < params.kernel_y;
  let at = p.origin + row * params.x_row + column * params.x_column + channel * params.x_channel;
  let value = {{ 'i32' if integer else 'f32' }}(x[select(0, at, inside)]){{ ' - zero_point.x' if integer }};
  return select({{ '0' if integer else '0.0' }}, value, inside);
}

fn load_x(p: Pixel, k: i32, first_channel: i32) -> {{ S }} {
  return {{ S }}(
    load_one(p, k, first_channel),
    load_one(p, k + 1, first_channel),
    load_one(p, k + 2, first_channel),
    load_one(p, k + 3, first_channel),
  );
}
{% endif %}
