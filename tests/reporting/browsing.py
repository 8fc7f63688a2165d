"""What tests do with a page beside reading it."""


def set_theme(tab, theme):
    """Sets the theme of the system and returns once the page has heard of it."""
    heard = """(theme) => new Promise((done) => {
      const query = matchMedia('(prefers-color-scheme: dark)');
      if (query.matches === (theme === 'dark')) done();
      // Behind the page's own listeners, which were there before.
      else query.addEventListener('change', () => done(), {once: true});
    })"""
    tab.evaluate(f'(theme) => {{ window.heard = ({heard})(theme) }}', theme)
    tab.emulate_media(color_scheme=theme)
    tab.evaluate('window.heard')
