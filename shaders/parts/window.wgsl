{# Where the tokens of a window of the rolled grid lie, and their projections: `load` gives some channels of one. #}
// The token at a place of a window of the rolled grid, or -1 where the grid is padded.
fn token_at(down: i32, across: i32, place: i32) -> i32 {
  let rolled_row = down * {{ window }} + place / {{ window }} + params.shift;
  let rolled_column = across * {{ window }} + place % {{ window }} + params.shift;
  // the shift is less than a window
  let row = rolled_row - select(0, params.padded_height, rolled_row >= params.padded_height);
  let column = rolled_column - select(0, params.padded_width, rolled_column >= params.padded_width);
  return select(-1, row * params.width + column, row < params.height && column < params.width);
}
{% if mask_value %}

// 0 where no edge comes near, 1 and 2 for what the roll brought together in the last window
fn band(at: i32, size: i32) -> i32 {
  return i32(at >= size - {{ window }}) + i32(at >= size - params.shift);
}

fn region_at(down: i32, across: i32, place: i32) -> i32 {
  return band(down * {{ window }} + place / {{ window }}, params.padded_height) * 3
    + band(across * {{ window }} + place % {{ window }}, params.padded_width);
}
{% endif %}

// {{ 'Eight' if x_vec == 8 else 'Four' }} channels of the projections of a token, which is on the grid.
fn load(image: i32, token: i32, channel: i32) -> {{ 'vec4<u32>' if x_vec == 8 else 'vec4<f32>' }} {
{% for piece in range(pieces) %}
{% set item = 'x%d[params.base_x%d + (image * params.x_image + (token - %d * params.piece_tokens) * params.x_token + channel) / %d]' % (piece, piece, piece, x_vec) %}
{% if not loop.last %}
  if (token < {{ piece + 1 }} * params.piece_tokens) {
{% endif %}
    return {{ item if x_vec == 8 else 'vec4<f32>(%s)' % item }};
{% if not loop.last %}
  }
{% endif %}
{% endfor %}
}
{% if x_vec == 4 %}

// Four channels of the projections of a token, or where it is -1 of the padding. No branch, which would wait for each load.
fn load_padded(image: i32, token: i32, channel: i32) -> vec4<f32> {
{% if has_padding %}
  return select(vec4<f32>(padding[params.base_padding + channel / 4]), load(image, max(token, 0), channel), token >= 0);
{% else %}
  return load(image, token, channel);
{% endif %}
}
{% endif %}
