{# The tile of an invocation that has taken its channels off `rest`: its place in the workspace (`tile`), and its image and first
   output. Rows of the dispatch are rows of tiles, all images of a range one behind the other. With a dilation every
   dilation-th pixel of each axis makes a picture of its own: tiles of one band, and of one place in a line, lie side by side. #}
  let row = params.first + rest / params.tiles_x;
  let tile_x = rest % params.tiles_x;
  let tile = row * params.tiles_x + tile_x;
  let image = (params.first_row + row) / params.tiles_y;
  let tile_y = (params.first_row + row) % params.tiles_y;
  let out_y = tile_y / params.dilation * params.dilation * {{ size - 2 }} + tile_y % params.dilation;
  let out_x = tile_x / params.dilation * params.dilation * {{ size - 2 }} + tile_x % params.dilation;
