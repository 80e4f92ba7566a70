/* On pages with explorers, between require.js and the widgets: where the widgets' fonts are, a MathJax that they
   can live with, and what a screen reader hears.

   The widgets name neither the handle of a slider nor the state of a toggle button.  Each handle is given the slider's
   own label, and as its value the picture that it brings up, in the words of that picture's alternative text. */

(() => {
  // The bundle asks for its fonts beside itself, and takes "beside" from what require.js believes.
  requirejs.config({ paths: { '@jupyter-widgets/html-manager': document.currentScript.dataset.manager } })

  // The widgets know MathJax 2 only and call its queue; MathJax 3 has none, and no picture here holds an equation.
  const queue = { Queue: () => {} }
  if (window.MathJax) {
    MathJax.Hub = queue
    MathJax.startup = { ...MathJax.startup, ready: () => { MathJax.startup.defaultReady(); MathJax.Hub = queue } }
  }

  const put = (element, name, value) => { if (element.getAttribute(name) !== value) element.setAttribute(name, value) }

  const name = explorer => {
    const label = explorer.querySelector('.widget-label')?.textContent.trim()
    const shown = [...explorer.querySelectorAll('img')].filter(img => img.offsetParent)
    for (const handle of explorer.querySelectorAll('[role=slider]')) {
      if (label) put(handle, 'aria-label', label)
      if (shown.length) put(handle, 'aria-valuetext', shown.map(img => img.alt).join(' '))
    }
    for (const group of explorer.querySelectorAll('.widget-toggle-buttons')) {
      put(group, 'role', 'group')
      put(group, 'aria-label', label || 'What the picture shows')
      for (const button of group.querySelectorAll('button')) put(button, 'aria-pressed', String(button.classList.contains('mod-active')))
    }
  }

  const watch = explorer => {
    new MutationObserver(() => name(explorer)).observe(explorer, {
      subtree: true, childList: true, characterData: true, attributes: true, attributeFilter: ['class', 'style'],
    })
    name(explorer)
  }

  document.addEventListener('DOMContentLoaded', () => {
    document.querySelectorAll('script[type="application/vnd.jupyter.widget-view+json"]').forEach(view => watch(view.parentElement))
  })
})()
