"""A script for the browser that finds fields whose edge some visitors cannot see, which axe-core does not look for."""

EDGES = """() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true})
  const colour = text => {
    canvas.clearRect(0, 0, 1, 1)
    canvas.fillStyle = text
    canvas.fillRect(0, 0, 1, 1)
    const [r, g, b, alpha] = canvas.getImageData(0, 0, 1, 1).data
    return [r, g, b, alpha / 255]
  }
  const over = (top, below) => [0, 1, 2].map(i => top[i] * top[3] + below[i] * (1 - top[3]))
  const above = element => element ? [element, ...above(element.parentElement)] : []
  const behind = element => above(element).reverse()
    .reduce((below, each) => over(colour(getComputedStyle(each).backgroundColor), below), [255, 255, 255])
  const luminance = rgb => rgb.map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0)
  const contrast = (text, below) => {
    const [low, high] = [luminance(over(colour(text), below)), luminance(below)].sort((a, b) => a - b)
    return (high + 0.05) / (low + 0.05)
  }
  const shown = element => element.checkVisibility({visibilityProperty: true}) && element.getClientRects().length
  const fields = 'textarea, input[type=number], input[role=listbox], input[type=text]'
  return [...document.querySelectorAll(fields)].filter(shown).filter(field => {
    const edges = above(field).slice(0, 4).filter(each => parseFloat(getComputedStyle(each).borderTopWidth))
      .map(each => contrast(getComputedStyle(each).borderTopColor, behind(each.parentElement)))
    return Math.max(...edges, 0) < 3
  }).map(field => field.ariaLabel ?? field.outerHTML.slice(0, 100))
}"""
"""Fields without an edge of a contrast of 3."""
