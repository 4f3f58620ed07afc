"""A script for the browser that finds what some visitors cannot see or name."""

FAULTS = """() => {
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
  const contrast = (text, below, opacity = 1) => {
    const [r, g, b, alpha] = colour(text)
    const [low, high] = [luminance(over([r, g, b, alpha * opacity], below)), luminance(below)].sort((a, b) => a - b)
    return (high + 0.05) / (low + 0.05)
  }
  const shown = element => element.checkVisibility({visibilityProperty: true}) && element.getClientRects().length
  const faults = []
  const words = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
  while (words.nextNode()) {
    const text = words.currentNode.textContent.trim(), element = words.currentNode.parentElement
    const exempt = '[disabled], [aria-disabled=true], svg, style, script, .image-container'
    if (!text || !shown(element) || element.closest(exempt)) continue
    const opacity = above(element).reduce((product, each) => product * getComputedStyle(each).opacity, 1)
    const found = contrast(getComputedStyle(element).color, behind(element), opacity)
    if (found < 4.5) faults.push(`contrast ${found.toFixed(2)}: ${text.slice(0, 40)}`)
  }
  const named = control => control.ariaLabel || control.title || [...control.labels ?? []].some(each => each.innerText)
    || control.matches('button') && (control.innerText.trim() || control.querySelector('img')?.alt)
  for (const control of document.querySelectorAll('input:not([type=hidden]), textarea, select, button')) {
    if (!shown(control)) continue
    if (!named(control)) faults.push(`no name: ${control.outerHTML.slice(0, 100)}`)
    if (!control.matches('textarea, input[type=number], input[role=listbox], input[type=text]')) continue
    const edges = above(control).slice(0, 4).filter(each => parseFloat(getComputedStyle(each).borderTopWidth))
      .map(each => contrast(getComputedStyle(each).borderTopColor, behind(each.parentElement)))
    if (Math.max(...edges, 0) < 3) faults.push(`no edge: ${control.ariaLabel ?? control.outerHTML.slice(0, 100)}`)
  }
  return faults
}"""
"""Texts of a contrast below 4.5, controls without a name, and fields without an edge of a contrast of 3."""
